"""Mid-ranks of a bootstrap draw, computed from its counts without resampling.

A draw contains record i wᵢ times. The copies tie with each other and with every record of the same
value. If T records of the draw have a value and L records are below it, the ties have
the ranks L+1 … L+T and the mid-rank L + (T+1)/2. Ranks of the resampled column are the same;
records with count 0 have no effect.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PRODUCTS_A_RECORD = 20
"""Number of multiplications that take about as long as one lookup of a record's count."""

BLOCK = 32
"""Number of groups in a block of `ordered_sum`."""

_WITHIN = 2 * np.triu(np.ones((BLOCK, BLOCK))) - np.eye(BLOCK)
"""The product of a block of totals T with this matrix is 2L + T within the block."""
_ONES = np.ones(BLOCK)


class TieGroups:
    """The groups of equal values of a column (n,), in rising order.

    `order` (n,) sorts the column; `starts` (groups,) has the position in that order at which each group begins;
    `group` (n,) has the group of each record, in the order of the column.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.order = np.argsort(values, kind="stable")
        sorted_values = values[self.order]
        is_start = np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]])
        self.starts = np.flatnonzero(is_start)
        self.group = np.empty(len(values), dtype=np.intp)
        self.group[self.order] = np.cumsum(is_start) - 1

    def totals(self, sorted_weights: np.ndarray) -> np.ndarray:
        """Sum `sorted_weights` (draws, n), which are in `order`, over each tie group: (draws, groups)."""
        if len(self.starts) == sorted_weights.shape[1]:
            return sorted_weights.astype(float, copy=False)
        return np.add.reduceat(sorted_weights, self.starts, axis=1, dtype=float)

    def counting(self, cluster: np.ndarray, clusters: int) -> Callable[[np.ndarray], np.ndarray]:
        """Make a function that takes counts of the clusters, (draws, clusters), and returns totals, (draws, groups).

        The function is a matrix product if there are few clusters and groups, else a lookup of each record's count.
        """
        groups = len(self.starts)
        if clusters * groups > PRODUCTS_A_RECORD * len(cluster):
            ordered = cluster[self.order]
            return lambda counts: self.totals(np.take(counts, ordered, axis=1))
        records = np.bincount(cluster * groups + self.group, minlength=clusters * groups)
        table = records.reshape(clusters, groups).astype(float)
        return lambda counts: counts.astype(float) @ table


def doubled_deviations(totals: np.ndarray) -> np.ndarray:
    """2(R − R̄) of each tie group, (draws, groups), an integer; R̄ = (N+1)/2 in a draw of N records.

    R = L + (T+1)/2 gives 2(L+T) − T − N.
    """
    deviations = np.cumsum(totals, axis=1)
    deviations *= 2
    deviations -= totals
    deviations -= totals.sum(axis=1, keepdims=True)
    return deviations


def squared_deviations(totals: np.ndarray) -> np.ndarray:
    """ΣT(R − R̄)² of each draw, (draws,), as (N³ − ΣT³)/12 (Kendall 1945)."""
    records = totals.sum(axis=1)
    return (records**3 - np.einsum("bg,bg->b", totals * totals, totals)) / 12


def ordered_sum(totals: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Σ P·2(R − R̄) of each draw, (draws,), for products P (draws, groups) that sum to 0 in each draw.

    For totals T, 2(R − R̄) = 2L + T − N, and N cancels because ΣP = 0. A product with a triangular matrix computes L
    within blocks of `BLOCK` groups: a cumulative sum over all groups takes three times as long.
    """
    totals, products = _padded(totals), _padded(products)
    blocks = (len(totals), -1, BLOCK)
    ranks = (totals.reshape(blocks) @ _WITHIN).reshape(totals.shape)
    within = np.einsum("bg,bg->b", ranks, products)
    # The sums are products with ones, because numpy's sum over short rows takes ten times as long.
    sums, sums_of_products = totals.reshape(blocks) @ _ONES, products.reshape(blocks) @ _ONES
    before = np.cumsum(sums, axis=1) - sums
    return within + 2 * np.einsum("bk,bk->b", before, sums_of_products)


def _padded(values: np.ndarray) -> np.ndarray:
    missing = -values.shape[1] % BLOCK
    return np.pad(values, ((0, 0), (0, missing))) if missing else values
