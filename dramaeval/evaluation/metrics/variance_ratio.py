"""Variance ratio: whether the judge uses as much of the scale as the raters' means do."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.answers import Answers
from dramaeval.evaluation.bootstrap import Draws
from dramaeval.evaluation.metrics.metric import Exchange, UndefinedError, constant, require_records
from dramaeval.evaluation.metrics.moments import moments_over_draws


class VarianceRatio:
    """var(x) / var(y): below 1 the judge stays near the middle, 0 when it is constant."""

    name = "variance_ratio"
    exchange = Exchange.RAW

    def __call__(self, answers: Answers) -> float:
        """Undefined under 3 records or where the raters' mean is constant."""
        require_records(answers, 3)
        if constant(answers.rated):
            raise UndefinedError("the raters' mean is the same for every record")
        return float(np.var(answers.predicted) / np.var(answers.rated))

    def over_draws(self, answers: Answers, draws: Draws) -> np.ndarray:
        """The same in every draw, from weighted moments."""
        found = moments_over_draws(answers.predicted, answers.rated, answers.cluster, draws)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(found.variance_y > 0, found.variance_x / found.variance_y, np.nan)
