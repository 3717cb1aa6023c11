"""Spread correlation: is the judge unsure where the raters disagree?"""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    SummedMetric,
    UndefinedError,
    constant,
    require_records,
)
from dramaeval.evaluation.metrics.moments import correlation, of_moments
from dramaeval.evaluation.metrics.predicted_spread import distribution_variances
from dramaeval.evaluation.metrics.rater_spread import rater_variances


class SpreadCorrelation(SummedMetric):
    """Pearson's r of a record's predicted and raters' standard deviation.

    Over the records with a distribution and at least two ratings.
    """

    name = "spread_correlation"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined under 3 such records, or where one of the two never changes."""
        require_records(answers, 3)
        predicted, rated, rows = _spreads(answers)
        if len(rows) < 3:
            raise UndefinedError("under 3 records have both a distribution and two ratings")
        if constant(predicted):
            raise UndefinedError("the judge is equally sure of every record")
        if constant(rated):
            raise UndefinedError("the raters differ equally on every record")
        return float(scipy.stats.pearsonr(predicted, rated).statistic)

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw, from weighted moments."""
        predicted, rated, rows = _spreads(answers)
        return of_moments(predicted, rated, answers.cluster[rows], correlation)


def _spreads(answers: DimensionArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    predicted = np.sqrt(distribution_variances(answers))
    rated = np.sqrt(rater_variances(answers.ratings))
    rows = np.flatnonzero(~np.isnan(predicted) & ~np.isnan(rated))
    return predicted[rows], rated[rows], rows
