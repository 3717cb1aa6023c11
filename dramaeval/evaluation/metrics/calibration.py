"""Compares the judge's distributions with the raters' distributions: calibration error and spreads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import Summands, ratio
from dramaeval.evaluation.dimension_arrays import ONLY_MEANS, DimensionArrays, nearest_step
from dramaeval.evaluation.metrics.metric import (
    RecordMean,
    SummedMetric,
    UndefinedError,
    constant,
    require_records,
)
from dramaeval.evaluation.metrics.moments import correlation, of_moments

BINS = 10
NO_DISTRIBUTIONS = "the judge gave numbers without distributions"


class CalibrationError(SummedMetric):
    """ECE = 1/K Σₖ Σ_b |Σ_{i∈b} (pᵢ(k) − rᵢ(k))| / n, with r(k) the share of raters who gave k.

    Class-wise calibration error (Kull et al. 2019, arXiv 1910.12656, eq. 3) with the raters'
    shares in place of a single label: for each score k, the records are binned by p(k) into ten
    bins of equal width, and the mean p(k) of a bin is compared with the mean share. A rating
    between two scores counts for the nearest score. Records of which only the mean rating is known are
    left out, because their shares are unknown.
    """

    name = "ece"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined without a record that has a distribution."""
        require_records(arrays, 1)
        summands = self.summands(arrays)
        if len(summands.cluster) == 0:
            unrated = bool(np.isnan(arrays.ratings).all())
            raise UndefinedError(ONLY_MEANS if unrated else NO_DISTRIBUTIONS)
        return summands.whole

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The gaps p(k) − r(k) in each bin, and the number of records."""
        gaps, bins, rows = _gaps(arrays)
        columns = np.column_stack([np.ones(len(rows)), _binned(gaps, bins)])

        def error(sums: np.ndarray) -> np.ndarray:
            return ratio(np.abs(sums[:, 1:]).sum(axis=1), sums[:, 0]) / gaps.shape[1]

        return Summands(cluster=arrays.cluster[rows], columns=columns, value=error)


class CalibrationBin(NamedTuple):
    """One bin of a calibration curve: `n` probabilities, their mean `stated`, and the mean `share` of raters."""

    low: float
    high: float
    n: int
    stated: float
    share: float


def calibration_curve(arrays: DimensionArrays) -> list[CalibrationBin]:
    """The calibration bins over all scores of the scale, without empty bins."""
    rows = _with_distribution(arrays)
    stated = arrays.distribution[rows].ravel()
    shares = rater_shares(arrays.ratings[rows], arrays.scale).ravel()
    return calibration_bins(stated, shares)


def calibration_bins(stated: np.ndarray, shares: np.ndarray) -> list[CalibrationBin]:
    """Bin the stated probabilities; empty bins are left out.

    Args:
        stated: probabilities, ``[n]``.
        shares: observed shares, ``[n]``.
    """
    bins = bin_of(stated)
    return [
        CalibrationBin(
            low=b / BINS,
            high=(b + 1) / BINS,
            n=int((bins == b).sum()),
            stated=float(stated[bins == b].mean()),
            share=float(shares[bins == b].mean()),
        )
        for b in np.unique(bins).tolist()
    ]


def rater_shares(ratings: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The share of a record's ratings that are nearest to each score, (n, K), from `ratings` (n, R).

    A rating halfway between two scores counts for the upper one; missing ratings are left out. A row
    without ratings is NaN.
    """
    steps = nearest_step(ratings, scale)
    rated = ~np.isnan(ratings)
    counts = np.stack([((steps == k) & rated).sum(axis=1) for k in range(len(scale))], axis=1)
    return ratio(counts, rated.sum(axis=1, keepdims=True))


def _with_distribution(arrays: DimensionArrays) -> np.ndarray:
    """The rows that have both single ratings and a distribution."""
    rated = (~np.isnan(arrays.ratings)).any(axis=1)
    return np.flatnonzero(rated & ~np.isnan(arrays.distribution).any(axis=1))


def bin_of(probabilities: np.ndarray) -> np.ndarray:
    """The number of each probability's bin, from 0."""
    return np.minimum((probabilities * BINS).astype(int), BINS - 1)


def _gaps(arrays: DimensionArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p(k) − r(k) (m, K), its bin (m, K), and the rows of the m records with a distribution."""
    rows = _with_distribution(arrays)
    stated = arrays.distribution[rows]
    return stated - rater_shares(arrays.ratings[rows], arrays.scale), bin_of(stated), rows


def _binned(gaps: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Each gap in the column of its score and bin, zero elsewhere: (n, K × BINS)."""
    columns = np.zeros((*gaps.shape, BINS))
    np.put_along_axis(columns, bins[:, :, None], gaps[:, :, None], axis=2)
    return columns.reshape(len(gaps), gaps.shape[1] * BINS)


class PredictedSpread(RecordMean):
    """√(mean variance of the distributions), in score units; compare with `rater_spread`.

    If it is above the raters' spread, the judge is less certain than the raters' agreement justifies.
    """

    name = "predicted_spread"
    score_power = 1
    undefined = NO_DISTRIBUTIONS

    def record_values(self, arrays: DimensionArrays) -> np.ndarray:
        """Σ k²p(k) − (Σ k·p(k))² as Σ (k−mean)²p(k); NaN without a distribution."""
        deviations = arrays.scale - (arrays.distribution @ arrays.scale)[:, None]
        return (deviations**2 * arrays.distribution).sum(axis=1)

    def of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The standard deviation."""
        return np.sqrt(mean)


class RaterSpread(RecordMean):
    """√(mean variance between the raters of a record), in score units.

    Each variance is Σ(r−r̄)²/(m−1) over the m ≥ 2 ratings of a record: an unbiased estimate of the
    variance of the distribution of ratings, and therefore comparable with `predicted_spread`.
    """

    name = "rater_spread"
    score_power = 1
    undefined = "no record has the ratings of two raters"

    def record_values(self, arrays: DimensionArrays) -> np.ndarray:
        """Σ(r−r̄)²/(m−1) without the missing ratings; NaN where m < 2."""
        ratings = arrays.ratings
        raters = (~np.isnan(ratings)).sum(axis=1)
        means = ratio(np.nansum(ratings, axis=1), raters)
        return ratio(np.nansum((ratings - means[:, None]) ** 2, axis=1), raters - 1)

    def of_mean(self, mean: np.ndarray) -> np.ndarray:
        """The standard deviation."""
        return np.sqrt(mean)


class SpreadCorrelation(SummedMetric):
    """Pearson's r between the standard deviations of a record's distribution and of its ratings.

    It is computed over the records with a distribution and at least two ratings.
    """

    name = "spread_correlation"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined with fewer than 3 such records, or if one of the two is constant."""
        require_records(arrays, 3)
        predicted, rated, rows = _spreads(arrays)
        if len(rows) < 3:
            raise UndefinedError("under 3 records have both a distribution and two ratings")
        if constant(predicted):
            raise UndefinedError("the judge is equally sure of every record")
        if constant(rated):
            raise UndefinedError("the raters differ equally on every record")
        return float(scipy.stats.pearsonr(predicted, rated).statistic)

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The weighted moments of the two standard deviations."""
        predicted, rated, rows = _spreads(arrays)
        return of_moments(predicted, rated, arrays.cluster[rows], correlation)


def _spreads(arrays: DimensionArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    predicted = np.sqrt(PredictedSpread().record_values(arrays))
    rated = np.sqrt(RaterSpread().record_values(arrays))
    rows = np.flatnonzero(~np.isnan(predicted) & ~np.isnan(rated))
    return predicted[rows], rated[rows], rows
