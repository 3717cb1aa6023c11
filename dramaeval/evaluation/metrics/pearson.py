"""Pearson's correlation of expected scores with mean ratings."""

from __future__ import annotations

import scipy

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, SummedMetric, require_variation
from dramaeval.evaluation.metrics.moments import correlation, of_moments


class Pearson(SummedMetric):
    """r = cov(x, y) / (σₓ σ_y), between -1 and 1 (Pearson 1895)."""

    name = "pearson"
    exchange = Exchange.STANDARDISED

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined with fewer than 3 records, or if x or y is constant."""
        require_variation(arrays)
        return float(scipy.stats.pearsonr(arrays.predicted, arrays.rated).statistic)

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The weighted moments of x and y."""
        return of_moments(arrays.predicted, arrays.rated, arrays.cluster, correlation)
