"""Rater spread: how much raters of the same clip differ."""

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


class RaterSpread(SummedMetric):
    """√(mean variance between the raters of a record), in score units.

    Each variance is Σ(r−r̄)²/(m−1) over the m ≥ 2 ratings of a record: unbiased for the distribution
    the ratings come from, hence comparable with `predicted_spread`.
    """

    name = "rater_spread"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined without a record that two raters rated."""
        require_records(answers, 1)
        variances = rater_variances(answers.ratings)
        if np.isnan(variances).all():
            raise UndefinedError("no record was rated by two raters")
        return float(np.sqrt(np.nanmean(variances)))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        variances = rater_variances(answers.ratings)
        kept = ~np.isnan(variances)
        return of_mean(variances[kept], answers.cluster[kept], np.sqrt)


def rater_variances(ratings: np.ndarray) -> np.ndarray:
    """Σ(r−r̄)²/(m−1) of each row of `ratings` (n, R), missing ones left out; NaN where m < 2."""
    given = (~np.isnan(ratings)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(ratings, axis=1) / given
        squares = np.nansum((ratings - means[:, None]) ** 2, axis=1)
        return np.where(given >= 2, squares / (given - 1), np.nan)
