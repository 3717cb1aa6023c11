"""Concordance correlation coefficient: correlation that also minds offset and stretch."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    SummedMetric,
    UndefinedError,
    constant,
    require_records,
)
from dramaeval.evaluation.metrics.moments import Moments, of_moments


class Concordance(SummedMetric):
    """CCC = 2 cov(x, y) / (σₓ² + σ_y² + (x̄ − ȳ)²), population moments (Lin 1989).

    Unlike a correlation it has a value where one side alone is constant: 0, no concordance.
    """

    name = "ccc"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined under 3 records or where both sides are one and the same constant."""
        require_records(answers, 3)
        x, y = answers.predicted, answers.rated
        if constant(np.concatenate([x, y])):
            raise UndefinedError("judge and raters gave every record one and the same score")
        covariance = np.mean((x - x.mean()) * (y - y.mean()))
        return float(2 * covariance / (np.var(x) + np.var(y) + (x.mean() - y.mean()) ** 2))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw, from weighted moments."""
        return of_moments(answers.predicted, answers.rated, answers.cluster, _concordance)


def _concordance(moments: Moments) -> np.ndarray:
    apart = moments.variance_x + moments.variance_y + (moments.mean_x - moments.mean_y) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(apart > 0, 2 * moments.covariance / apart, np.nan)
