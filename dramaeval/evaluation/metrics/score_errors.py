"""Agreement in score units: errors, bias, variance ratio and concordance."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands, ratio
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    RecordMean,
    SummedMetric,
    UndefinedError,
    constant,
    require_records,
)
from dramaeval.evaluation.metrics.moments import Moments, of_moments


class MeanSquaredError(RecordMean):
    """MSE = mean (x − y)², in squared score units."""

    name = "mse"
    score_power = 2

    def record_values(self, arrays: DimensionArrays) -> np.ndarray:
        """(x − y)²."""
        return (arrays.predicted - arrays.rated) ** 2


class MeanAbsoluteError(RecordMean):
    """MAE = mean |x − y|, in score units."""

    name = "mae"
    score_power = 1

    def record_values(self, arrays: DimensionArrays) -> np.ndarray:
        """|x − y|."""
        return np.abs(arrays.predicted - arrays.rated)


class Bias(RecordMean):
    """mean (x − y), in score units: positive if the judge scores higher than people."""

    name = "bias"
    score_power = 1

    def record_values(self, arrays: DimensionArrays) -> np.ndarray:
        """x − y."""
        return arrays.predicted - arrays.rated


class VarianceRatio(SummedMetric):
    """var(x) / var(y): below 1 if the judge uses less of the scale than people; 0 if its score is constant."""

    name = "variance_ratio"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined with fewer than 3 records, or if the mean rating is constant."""
        require_records(arrays, 3)
        if constant(arrays.rated):
            raise UndefinedError("the raters' mean is the same for every record")
        return float(np.var(arrays.predicted) / np.var(arrays.rated))

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The weighted moments of x and y."""
        return of_moments(
            arrays.predicted,
            arrays.rated,
            arrays.cluster,
            lambda moments: ratio(moments.variance_x, moments.variance_y),
        )


class Concordance(SummedMetric):
    """CCC = 2 cov(x, y) / (σₓ² + σ_y² + (x̄ − ȳ)²), population moments (Lin 1989).

    Unlike a correlation, it is defined if only one of x and y is constant: it is then 0.
    """

    name = "ccc"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined with fewer than 3 records, or if x and y are the same constant."""
        require_records(arrays, 3)
        x, y = arrays.predicted, arrays.rated
        if constant(np.concatenate([x, y])):
            raise UndefinedError("judge and raters gave every record the same score")
        covariance = np.mean((x - x.mean()) * (y - y.mean()))
        return float(2 * covariance / (np.var(x) + np.var(y) + (x.mean() - y.mean()) ** 2))

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The weighted moments of x and y."""
        return of_moments(arrays.predicted, arrays.rated, arrays.cluster, _concordance)


def _concordance(moments: Moments) -> np.ndarray:
    denominator = moments.variance_x + moments.variance_y + (moments.mean_x - moments.mean_y) ** 2
    return ratio(2 * moments.covariance, denominator)
