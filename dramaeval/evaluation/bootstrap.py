"""The cluster bootstrap: draws of clusters, and intervals over the draws.

A draw is an array that counts how often it contains each cluster. A metric of the resampled records
is the metric of the original records, each weighted by the count of its cluster. One matrix product
computes sums over the records of all draws; no record is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK_CELLS = 2_000_000
"""Cells (draws × records) of one chunk: arrays of 16 MB, which limits the memory."""

CACHED_CELLS = 100_000
"""Cells of a chunk that is read several times: arrays of 0.8 MB, which fit the cache of a core."""

LEAST_CLUSTERS = 5
"""Minimum number of clusters for an interval: fewer clusters are no representative sample."""

DEFINED_SHARE = 0.9
"""There is an interval only if the metric is defined in at least this share of the draws."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Summands:
    """A statistic that is a function of sums over the records of a draw.

    Attributes:
        cluster: the cluster of each of the m records, (m,), as a column index of `BootstrapDraws.counts`.
        columns: the values to sum over a draw's records, (m, k), k ≥ 2.
        value: computes the statistic in every draw, (draws,), from the sums, (draws, k).
    """

    cluster: np.ndarray
    columns: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]

    @property
    def whole(self) -> float:
        """The statistic of all records, NaN if it is undefined."""
        return float(self.value(self.columns.sum(axis=0, keepdims=True))[0])


@dataclass(frozen=True, eq=False)
class BootstrapDraws:
    """`counts` (draws, clusters): how often each draw contains each cluster."""

    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def sums(self, cluster: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Sum `columns` (n, k) over the records of each draw: (draws, k).

        `cluster` (n,) is the column of `counts` of each record. The number of multiplications is
        draws × clusters × k; it does not depend on the number of records.
        """
        return self._summed(self._totals(cluster, columns))

    def means(self, cluster: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The mean of `values` (n,) over the records of each draw, (draws,); NaN in a draw without records."""
        totals, records = self.sums(cluster, np.stack([values, np.ones(len(values))], axis=1)).T
        return ratio(totals, records)

    def values(self, parts: Sequence[Summands]) -> list[np.ndarray]:
        """Compute each statistic in every draw, (draws,), from one matrix product.

        Every product reads all counts, so that one product for all statistics is much faster than one for each.
        """
        if not parts:
            return []
        totals = [self._totals(part.cluster, part.columns) for part in parts]
        sums = self._summed(np.concatenate(totals, axis=1))
        ends = np.cumsum([part.columns.shape[1] for part in parts])
        return [
            part.value(part_sums)
            for part, part_sums in zip(parts, np.split(sums, ends[:-1], axis=1), strict=True)
        ]

    def _totals(self, cluster: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Σ over each cluster's records, (clusters, k)."""
        size = self.counts.shape[1]
        totals = [np.bincount(cluster, weights=column, minlength=size) for column in columns.T]
        return np.stack(totals, axis=1)

    def _summed(self, totals: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [self.counts[rows].astype(float) @ totals for rows in self._chunks(len(totals))]
        )

    def weights(self, cluster: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield chunks of draws: the slice, and the count of each record in these draws, (some draws, n)."""
        for rows in self._chunks(len(cluster)):
            yield rows, np.take(self.counts[rows].astype(float), cluster, axis=1)

    def chunks(self, width: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield chunks of `counts`, (some draws, clusters), so small that ``width`` numbers a draw fit the cache."""
        for rows in self._chunks(width, CACHED_CELLS):
            yield rows, self.counts[rows]

    def _chunks(self, width: int, cells: int | None = None) -> Iterator[slice]:
        step = max(1, (cells or CHUNK_CELLS) // max(1, width))
        for start in range(0, len(self.counts), step):
            yield slice(start, start + step)


def bootstrap_draws(clusters: int, draws: int, seed: int) -> BootstrapDraws:
    """Draw `clusters` clusters with replacement, `draws` times (Efron & Tibshirani 1993)."""
    generator = np.random.default_rng(seed)
    counts = np.empty((draws, clusters), dtype=np.uint16)
    for row in counts:
        row[:] = np.bincount(generator.integers(clusters, size=clusters), minlength=clusters)
    return BootstrapDraws(counts)


def one_draw(cluster: np.ndarray) -> BootstrapDraws:
    """A single draw that contains each of the clusters of some records, (n,), once: the original records."""
    return BootstrapDraws(np.ones((1, cluster.max(initial=0) + 1)))


def draws_for_intervals(clusters: int, draws: int, seed: int) -> BootstrapDraws | None:
    """`bootstrap_draws`; None for no draws or fewer than `LEAST_CLUSTERS` clusters."""
    return bootstrap_draws(clusters, draws, seed) if draws and clusters >= LEAST_CLUSTERS else None


def has_few_clusters(cluster: np.ndarray) -> bool:
    """Whether records in these clusters, (n,), are too few for an interval, although other records may have one."""
    return len(np.unique(cluster)) < LEAST_CLUSTERS


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, NaN where the denominator is not positive."""
    undefined = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def mean_over_draws(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The mean of several metrics in every draw, (draws,); None if there is no metric or one has no draws."""
    drawn = [metric_values for metric_values in values if metric_values is not None]
    return np.mean(drawn, axis=0) if drawn and len(drawn) == len(values) else None


def interval(values: np.ndarray | None, level: float) -> list[float] | None:
    """Percentile interval [low, high] of a metric's values in the draws, (draws,), NaN where undefined.

    None without draws, and if the metric is defined in less than `DEFINED_SHARE` of them, because the remaining
    draws are a biased sample.
    """
    if values is None:
        return None
    defined = values[~np.isnan(values)]
    if len(values) == 0 or len(defined) < DEFINED_SHARE * len(values):
        return None
    return np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()
