"""Predicted spread: how uncertain the judge's distributions are."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    SummedMetric,
    UndefinedError,
    require_records,
)
from dramaeval.evaluation.metrics.moments import of_mean


class PredictedSpread(SummedMetric):
    """√(mean variance of the distributions), in score units; compare with `rater_spread`.

    Larger than the raters' spread: the judge is less sure than people are of one another.
    """

    name = "predicted_spread"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined without a record that has a distribution."""
        require_records(answers, 1)
        variances = distribution_variances(answers)
        if np.isnan(variances).all():
            raise UndefinedError("the judge gave numbers without distributions")
        return float(np.sqrt(np.nanmean(variances)))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        variances = distribution_variances(answers)
        kept = ~np.isnan(variances)
        return of_mean(variances[kept], answers.cluster[kept], np.sqrt)


def distribution_variances(answers: DimensionArrays) -> np.ndarray:
    """Σ k²p(k) − (Σ k·p(k))² of each record, (n,), as Σ (k−mean)²p(k); NaN where there is none."""
    means = answers.distribution @ answers.scale
    deviations = answers.scale - means[:, None]
    return (deviations**2 * answers.distribution).sum(axis=1)
