"""Expected calibration error of the distribution: does a stated 30 % come true 30 % of the time?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    SummedMetric,
    UndefinedError,
    require_records,
)

BINS = 10


class CalibrationError(SummedMetric):
    """ECE = 1/K Σₖ Σ_b |Σ_{i∈b} (pᵢ(k) − rᵢ(k))| / n, with r(k) the share of raters who gave k.

    Class-wise calibration error (Kull et al. 2019, arXiv 1910.12656, eq. 3) with the raters'
    shares in place of a single label: for each score k, the records are binned by p(k) into ten
    bins of equal width, and the mean p(k) of a bin is compared with the mean share. A rating
    between two scores counts for the nearest.
    """

    name = "ece"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined without a record that has a distribution."""
        require_records(answers, 1)
        gaps, bins, rows = _gaps(answers)
        if len(rows) == 0:
            raise UndefinedError("the judge gave numbers without distributions")
        columns = _binned(gaps, bins)
        return float(np.abs(columns.sum(axis=0)).sum() / len(rows) / gaps.shape[1])

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        gaps, bins, rows = _gaps(answers)
        columns = np.column_stack([np.ones(len(rows)), _binned(gaps, bins)])

        def error(sums: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                return np.abs(sums[:, 1:]).sum(axis=1) / sums[:, 0] / gaps.shape[1]

        return Summands(cluster=answers.cluster[rows], columns=columns, value=error)


class CalibrationBin(NamedTuple):
    """One bin of a calibration curve: `n` stated probabilities, their mean, and the mean share."""

    low: float
    high: float
    n: int
    stated: float
    share: float


def calibration_curve(answers: DimensionArrays) -> list[CalibrationBin]:
    """The bins that hold anything, all scores of the scale together: for a plot."""
    rows = _with_distribution(answers)
    stated = answers.distribution[rows].ravel()
    shares = rater_shares(answers.ratings[rows], answers.scale).ravel()
    bins = _bin(stated)
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
    """Share of a record's ratings nearest to each score, (n, K), from `ratings` (n, R).

    Halfway between two scores counts for the upper one; missing ratings are left out.
    """
    boundaries = (scale[1:] + scale[:-1]) / 2
    steps = np.searchsorted(boundaries, ratings, side="right")  # NaN sorts last
    given = ~np.isnan(ratings)
    counts = np.stack([((steps == k) & given).sum(axis=1) for k in range(len(scale))], axis=1)
    return counts / given.sum(axis=1, keepdims=True)


def _with_distribution(answers: DimensionArrays) -> np.ndarray:
    return np.flatnonzero(~np.isnan(answers.distribution).any(axis=1))


def _bin(probabilities: np.ndarray) -> np.ndarray:
    return np.minimum((probabilities * BINS).astype(int), BINS - 1)


def _gaps(answers: DimensionArrays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = _with_distribution(answers)
    stated = answers.distribution[rows]
    return stated - rater_shares(answers.ratings[rows], answers.scale), _bin(stated), rows


def _binned(gaps: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Each gap in the column of its score and bin, zero elsewhere: (n, K × BINS)."""
    columns = np.zeros((*gaps.shape, BINS))
    np.put_along_axis(columns, bins[:, :, None], gaps[:, :, None], axis=2)
    return columns.reshape(len(gaps), -1)
