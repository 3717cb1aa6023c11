"""Resampling by whole clusters: which clusters a draw holds, and intervals over the draws.

A draw is written as counts: how often it holds each cluster. A metric of the resampled records is
then a metric of the records weighted by their cluster's count, and sums over records become one
matrix product for all draws. No record is ever copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

CHUNK_CELLS = 2_000_000
"""Cells (draws × records) worked on at a time: 16 MB an array, so that a few of them stay small."""

DEFINED_SHARE = 0.9
"""An interval is given only when the metric is defined in at least this share of the draws."""


@dataclass(frozen=True, eq=False)
class Draws:
    """`counts` (draws, clusters): how often each draw holds each cluster."""

    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def sums(self, cluster: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Σ over a draw's records of `columns` (n, k), for each draw: (draws, k).

        `cluster` (n,) is the column of `counts` each record belongs to. Costs
        draws × clusters × k multiplications, however many records a cluster has.
        """
        totals = np.stack(
            [
                np.bincount(cluster, weights=column, minlength=self.counts.shape[1])
                for column in columns.T
            ],
            axis=1,
        )
        return np.concatenate(
            [self.counts[rows].astype(float) @ totals for rows in self._chunks(len(totals))]
        )

    def weights(self, cluster: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Each record's count, (some draws, n), a chunk of draws at a time with its place."""
        for rows in self._chunks(len(cluster)):
            yield rows, np.take(self.counts[rows].astype(float), cluster, axis=1)

    def _chunks(self, width: int) -> Iterator[slice]:
        step = max(1, CHUNK_CELLS // max(1, width))
        for start in range(0, len(self.counts), step):
            yield slice(start, start + step)


def bootstrap_draws(clusters: int, draws: int, seed: int) -> Draws:
    """Draw `clusters` clusters with replacement, `draws` times (Efron & Tibshirani 1993)."""
    generator = np.random.default_rng(seed)
    counts = np.empty((draws, clusters), dtype=np.uint16)
    for row in counts:
        row[:] = np.bincount(generator.integers(clusters, size=clusters), minlength=clusters)
    return Draws(counts)


def interval(values: np.ndarray, level: float) -> tuple[float, float] | None:
    """Percentile interval of a metric over the draws, (draws,) with NaN where it was undefined.

    None when fewer than `DEFINED_SHARE` of the draws define it: the rest is no fair sample.
    """
    defined = values[~np.isnan(values)]
    if len(values) == 0 or len(defined) < DEFINED_SHARE * len(values):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
