"""Mid-ranks of a bootstrap draw, computed from its counts without resampling.

A draw contains record i wᵢ times. The copies tie with each other and with every record of the same
value. With T the count of all records at a value and L the count of those below it, the ties have
the ranks L+1 … L+T and the mid-rank L + (T+1)/2. Ranking the resampled column gives the same ranks;
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
"""T @ this is 2L + T within a block."""
_ONES = np.ones(BLOCK)


class TieGroups:
    """The groups of equal values of a column (n,), in rising order.

    `order` (n,) sorts the column; `starts` (groups,) is where each group begins in that order;
    `group` (n,) is each record's group, in the column's own order.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.order = np.argsort(values, kind="stable")
        sorted_values = values[self.order]
        is_start = np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]])
        self.starts = np.flatnonzero(is_start)
        self.group = np.empty(len(values), dtype=np.intp)
        self.group[self.order] = np.cumsum(is_start) - 1

    def totals(self, sorted_weights: np.ndarray) -> np.ndarray:
        """Sum over each tie group, (draws, groups), of columns (draws, n) already in `order`."""
        if len(self.starts) == sorted_weights.shape[1]:
            return sorted_weights.astype(float, copy=False)
        return np.add.reduceat(sorted_weights, self.starts, axis=1, dtype=float)

    def counting(self, cluster: np.ndarray, clusters: int) -> Callable[[np.ndarray], np.ndarray]:
        """A function from counts of the clusters, (draws, clusters), to the totals, (draws, groups).

        With few clusters and groups this is a matrix product, else a lookup of each record's count.
        """
        groups = len(self.starts)
        if clusters * groups > PRODUCTS_A_RECORD * len(cluster):
            ordered = cluster[self.order]
            return lambda counts: self.totals(np.take(counts, ordered, axis=1))
        records = np.bincount(cluster * groups + self.group, minlength=clusters * groups)
        table = records.reshape(clusters, groups).astype(float)
        return lambda counts: counts.astype(float) @ table


def midranks(totals: np.ndarray) -> np.ndarray:
    """Rank L + (T+1)/2 of each tie group, (draws, groups), from the groups' counts T."""
    ranks = np.cumsum(totals, axis=1)  # L + T
    ranks -= (totals - 1) / 2
    return ranks


def doubled_deviations(totals: np.ndarray) -> np.ndarray:
    """2(R − R̄) of each tie group, (draws, groups), an integer; R̄ = (N+1)/2 in a draw of N records.

    R = L + (T+1)/2, so this is 2(L+T) − T − N.
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

    With T the totals, 2(R − R̄) = 2L + T − N, and N cancels because ΣP = 0. Within blocks of `BLOCK` groups L is
    a product with a triangular matrix: a cumulative sum over all groups takes three times as long.
    """
    totals, products = _padded(totals), _padded(products)
    blocks = (len(totals), -1, BLOCK)
    ranks = (totals.reshape(blocks) @ _WITHIN).reshape(totals.shape)
    within = np.einsum("bg,bg->b", ranks, products)
    # A product with ones: numpy's own sums over short rows take ten times as long.
    sums, sums_of_products = totals.reshape(blocks) @ _ONES, products.reshape(blocks) @ _ONES
    before = np.cumsum(sums, axis=1) - sums
    return within + 2 * np.einsum("bk,bk->b", before, sums_of_products)


def _padded(values: np.ndarray) -> np.ndarray:
    missing = -values.shape[1] % BLOCK
    return np.pad(values, ((0, 0), (0, missing))) if missing else values
