"""Concordance correlation coefficient: correlation that also minds offset and stretch."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.answers import Answers
from dramaeval.evaluation.bootstrap import Draws
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    UndefinedError,
    constant,
    require_records,
)
from dramaeval.evaluation.metrics.moments import moments_over_draws


class Concordance:
    """CCC = 2 cov(x, y) / (σₓ² + σ_y² + (x̄ − ȳ)²), population moments (Lin 1989).

    Unlike a correlation it has a value where one side alone is constant: 0, no concordance.
    """

    name = "ccc"
    exchange = Exchange.RAW

    def __call__(self, answers: Answers) -> float:
        """Undefined under 3 records or where both sides are one and the same constant."""
        require_records(answers, 3)
        x, y = answers.predicted, answers.rated
        if constant(np.concatenate([x, y])):
            raise UndefinedError("judge and raters gave every record one and the same score")
        covariance = np.mean((x - x.mean()) * (y - y.mean()))
        return float(2 * covariance / (np.var(x) + np.var(y) + (x.mean() - y.mean()) ** 2))

    def over_draws(self, answers: Answers, draws: Draws) -> np.ndarray:
        """The same in every draw, from weighted moments."""
        found = moments_over_draws(answers.predicted, answers.rated, answers.cluster, draws)
        apart = found.variance_x + found.variance_y + (found.mean_x - found.mean_y) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(apart > 0, 2 * found.covariance / apart, np.nan)
