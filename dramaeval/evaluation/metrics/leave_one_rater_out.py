"""The human ceiling: the correlation of one rater with the mean of the others."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import BootstrapDraws
from dramaeval.evaluation.metrics.metric import constant, mean_of_defined
from dramaeval.evaluation.metrics.moments import correlation, of_moments


class OneRater(NamedTuple):
    """A rater's ratings of m records, the mean ratings of the others, and the rows of the records, each (m,)."""

    ratings: np.ndarray
    others: np.ndarray
    rows: np.ndarray

    @property
    def comparable(self) -> bool:
        """Whether the correlation of `ratings` with `others` is defined."""
        return len(self.ratings) >= 3 and not constant(self.ratings) and not constant(self.others)


def leave_one_rater_out(ratings: np.ndarray) -> dict[str, Any]:
    """mean_j r(y_j, ȳ_{−j}) over raters j, from `ratings` (n, R) with NaN where missing.

    A column is one rater. In a file whose raters differ between records, a column mixes raters, and
    the result describes an average rater.

    A judge is compared with the mean of all raters, which has less noise than one rater, so that a good judge may
    exceed this value. A judge at the ceiling is as good as one more rater.

    Returns:
        ``pearson`` and ``spearman``, the means over raters; ``pearson_each`` and ``spearman_each`` by rater;
        ``raters`` with a rating on a record that has two or more; ``raters_used`` with a correlation; ``n``, the
        records with two ratings or more. A rater with fewer than 3 such records, or whose ratings or others' means
        are constant, is None in the lists and left out of the means. A mean over no rater is None.
    """
    raters = each_rater(ratings)
    pearson, spearman = (
        [float(statistic(r.ratings, r.others)[0]) if r.comparable else None for r in raters]
        for statistic in (scipy.stats.pearsonr, scipy.stats.spearmanr)
    )
    return {
        "pearson": mean_of_defined(pearson),
        "spearman": mean_of_defined(spearman),
        "pearson_each": pearson,
        "spearman_each": spearman,
        "raters": sum(len(r.ratings) > 0 for r in raters),
        "raters_used": sum(value is not None for value in pearson),
        "n": int(((~np.isnan(ratings)).sum(axis=1) >= 2).sum()),
    }


def pearson_ceiling_over_draws(
    ratings: np.ndarray, cluster: np.ndarray, draws: BootstrapDraws
) -> np.ndarray:
    """The mean Pearson ceiling in every draw, (draws,); NaN if it is undefined for a rater."""
    values = draws.values(
        [
            of_moments(rater.ratings, rater.others, cluster[rater.rows], correlation)
            for rater in each_rater(ratings)
            if rater.comparable
        ]
    )
    return np.mean(values, axis=0) if values else np.full(len(draws), np.nan)


def each_rater(ratings: np.ndarray) -> list[OneRater]:
    """Compare every column of `ratings` (n, R) with the other columns."""
    present = ~np.isnan(ratings)
    count = present.sum(axis=1)
    total = np.nansum(ratings, axis=1)
    raters = []
    for column in range(ratings.shape[1]):
        rows = np.flatnonzero(present[:, column] & (count >= 2))
        by_rater = ratings[rows, column]
        others = (total[rows] - by_rater) / (count[rows] - 1)
        raters.append(OneRater(by_rater, others, rows))
    return raters
