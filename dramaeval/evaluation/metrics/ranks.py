"""Ranks of a resample without resampling: mid-ranks from the counts of a draw.

A draw holds record i wᵢ times. Its copies tie with each other and with every record of the same
value, so with T the count of all records at a value and L the count of those below it, they fill
the ranks L+1 … L+T, and each gets their mean, L + (T+1)/2. That is exactly what ranking the
resampled column gives; records with count 0 take part in nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PRODUCTS_A_RECORD = 20
"""Multiplications that take about as long as to look one record's count up."""

BLOCK = 32
"""Groups that `ordered_sum` takes at a time."""

_WITHIN = 2 * np.triu(np.ones((BLOCK, BLOCK))) - np.eye(BLOCK)
"""T @ this is 2L + T within a block."""
_ONES = np.ones(BLOCK)


class TieGroups:
    """The values of a column (n,) in rising order, equal ones together.

    `order` (n,) sorts the column; `starts` (groups,) is where each group begins in that order;
    `group` (n,) is each record's group, in the column's own order.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.order = np.argsort(values, kind="stable")
        risen = values[self.order]
        new = np.concatenate([[True], risen[1:] != risen[:-1]])
        self.starts = np.flatnonzero(new)
        self.group = np.empty(len(values), dtype=np.intp)
        self.group[self.order] = np.cumsum(new) - 1

    def totals(self, sorted_weights: np.ndarray) -> np.ndarray:
        """Sum over each tie group, (draws, groups), of columns (draws, n) already in `order`."""
        if len(self.starts) == sorted_weights.shape[1]:
            return sorted_weights.astype(float, copy=False)
        return np.add.reduceat(sorted_weights, self.starts, axis=1, dtype=float)

    def counting(self, cluster: np.ndarray, clusters: int) -> Callable[[np.ndarray], np.ndarray]:
        """A function from counts of the clusters, (draws, clusters), to the totals, (draws, groups).

        With few clusters and groups it is a matrix product, else each record's count is looked up.
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
    """2(R − R̄) of each tie group, (draws, groups), with R̄ = (N+1)/2 of a draw of N: whole numbers.

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

    With T the totals, 2(R − R̄) = 2L + T − N, and N falls away as ΣP = 0. Within blocks of `BLOCK` groups L is a
    product with a triangular matrix: a running sum over all groups takes three times as long.
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
