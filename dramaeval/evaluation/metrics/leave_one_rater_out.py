"""The human ceiling: the correlation of one rater with the mean of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import BootstrapDraws
from dramaeval.evaluation.metrics.metric import constant, mean_of_defined
from dramaeval.evaluation.metrics.moments import correlation, of_moments


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """Correlation of each rater with the mean of the others, and the mean over raters.

    `records` counts records with two ratings or more; `raters` counts raters with a rating on such a
    record. Raters with fewer than 3 such records, or with a constant side, are None in the tuples and
    left out of the means, which are None without a rater.
    """

    pearson: float | None
    spearman: float | None
    pearson_each: tuple[float | None, ...]
    spearman_each: tuple[float | None, ...]
    raters: int
    records: int


class OneRater(NamedTuple):
    """The ratings of a rater, the others' means on the same records, and the rows, each (m,)."""

    ratings: np.ndarray
    others: np.ndarray
    rows: np.ndarray

    @property
    def comparable(self) -> bool:
        """Whether the correlation of the two is defined."""
        return len(self.ratings) >= 3 and not constant(self.ratings) and not constant(self.others)


def leave_one_rater_out(ratings: np.ndarray) -> Ceiling:
    """mean_j r(y_j, ȳ_{−j}) over raters j, from `ratings` (n, R) with NaN where missing.

    A column is one rater; in a file whose raters differ between records, a column mixes raters, and
    the result is that of an average rater.

    One rater is noisier than the mean of all, with which a judge is compared, so a good judge may
    exceed this value. A judge at the ceiling is as good as one more rater, not as good as possible.
    """
    raters = each_rater(ratings)
    pearson, spearman = (
        [float(statistic(r.ratings, r.others)[0]) if r.comparable else None for r in raters]
        for statistic in (scipy.stats.pearsonr, scipy.stats.spearmanr)
    )
    return Ceiling(
        pearson=mean_of_defined(pearson),
        spearman=mean_of_defined(spearman),
        pearson_each=tuple(pearson),
        spearman_each=tuple(spearman),
        raters=sum(len(r.ratings) > 0 for r in raters),
        records=int(((~np.isnan(ratings)).sum(axis=1) >= 2).sum()),
    )


def pearson_ceiling_over_draws(
    ratings: np.ndarray, cluster: np.ndarray, draws: BootstrapDraws
) -> np.ndarray:
    """The mean Pearson ceiling in every draw, (draws,), NaN where it is undefined for a rater."""
    values = draws.values(
        [
            of_moments(rater.ratings, rater.others, cluster[rater.rows], correlation)
            for rater in each_rater(ratings)
            if rater.comparable
        ]
    )
    return np.mean(values, axis=0) if values else np.full(len(draws), np.nan)


def each_rater(ratings: np.ndarray) -> list[OneRater]:
    """For every column of `ratings` (n, R): its ratings, and the others' means on these records."""
    given = ~np.isnan(ratings)
    count = given.sum(axis=1)
    total = np.nansum(ratings, axis=1)
    raters = []
    for column in range(ratings.shape[1]):
        rows = np.flatnonzero(given[:, column] & (count >= 2))
        given_by_rater = ratings[rows, column]
        others = (total[rows] - given_by_rater) / (count[rows] - 1)
        raters.append(OneRater(given_by_rater, others, rows))
    return raters
