"""Variance ratio: whether the judge uses as much of the scale as the raters' means do."""

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


class VarianceRatio(SummedMetric):
    """var(x) / var(y): below 1 the judge stays near the middle, 0 when it is constant."""

    name = "variance_ratio"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined under 3 records or where the raters' mean is constant."""
        require_records(answers, 3)
        if constant(answers.rated):
            raise UndefinedError("the raters' mean is the same for every record")
        return float(np.var(answers.predicted) / np.var(answers.rated))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw, from weighted moments."""
        return of_moments(answers.predicted, answers.rated, answers.cluster, _ratio)


def _ratio(moments: Moments) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(moments.variance_y > 0, moments.variance_x / moments.variance_y, np.nan)
