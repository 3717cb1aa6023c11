"""Ranks of a resample without resampling: mid-ranks from the counts of a draw.

A draw holds record i wᵢ times. Its copies tie with each other and with every record of the same
value, so with T the count of all records at a value and L the count of those below it, they fill
the ranks L+1 … L+T, and each gets their mean, L + (T+1)/2. That is exactly what ranking the
resampled column gives; records with count 0 take part in nothing.
"""

from __future__ import annotations

import numpy as np


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
            return sorted_weights
        return np.add.reduceat(sorted_weights, self.starts, axis=1)


def midranks(totals: np.ndarray) -> np.ndarray:
    """Rank L + (T+1)/2 of each tie group, (draws, groups), from the groups' counts T."""
    ranks = np.cumsum(totals, axis=1)  # L + T
    ranks -= (totals - 1) / 2
    return ranks
