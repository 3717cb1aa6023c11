"""Rank correlations of expected scores with mean ratings: Spearman's rho and Kendall's tau-b."""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import BootstrapDraws, ratio
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, require_variation
from dramaeval.evaluation.metrics.ranks import (
    TieGroups,
    doubled_deviations,
    ordered_sum,
    squared_deviations,
)

MOST_RECORDS = 4_000
MOST_CLUSTERS = 2_000
"""Above these limits Kendall's tau-b has no interval: at the limits, resampling all pairs takes 16 GFLOP."""


class Spearman:
    """ρ = Pearson's r of the mid-ranks: equal values have their mean rank (Spearman 1904)."""

    name = "spearman"
    exchange = Exchange.RANKED

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined with fewer than 3 records, or if x or y is constant."""
        require_variation(arrays)
        return float(scipy.stats.spearmanr(arrays.predicted, arrays.rated).statistic)

    def over_draws(self, arrays: DimensionArrays, draws: BootstrapDraws) -> np.ndarray:
        """Σw(R−R̄)(S−S̄) / √(Σw(R−R̄)² Σw(S−S̄)²) with R, S the mid-ranks of the draw: (draws,).

        R̄ = S̄ = (N+1)/2 in a draw of N records. NaN if x or y is constant in a draw. All sums are over integers and
        therefore exact in double precision in any order (if N³ is under 2⁵³).
        """
        x, y, cluster = arrays.predicted, arrays.rated, arrays.cluster
        values = np.full(len(draws), np.nan)
        if len(x) == 0:
            return values
        in_x, in_y = TieGroups(x), TieGroups(y)
        # All arrays below are in the order of x.
        y_group = in_y.group[in_x.order]
        x_cluster = cluster[in_x.order]
        count_y = in_y.counting(cluster, draws.counts.shape[1])
        for rows, counts in draws.chunks(len(x)):
            totals_y = count_y(counts)
            weights = np.take(counts, x_cluster, axis=1).astype(float)
            totals_x = in_x.totals(weights)
            deviations = np.take(doubled_deviations(totals_y), y_group, axis=1)
            deviations *= weights
            covariance = ordered_sum(totals_x, in_x.totals(deviations)) / 4
            product = squared_deviations(totals_x) * squared_deviations(totals_y)
            values[rows] = ratio(covariance, np.sqrt(product))
        return values


class Kendall:
    """τ_b = (P − Q) / √((P+Q+Tₓ)(P+Q+T_y)) with P concordant, Q discordant and T tied pairs (Kendall 1945)."""

    name = "kendall"
    exchange = Exchange.RANKED

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined with fewer than 3 records, or if x or y is constant."""
        require_variation(arrays)
        return float(scipy.stats.kendalltau(arrays.predicted, arrays.rated, variant="b").statistic)

    def over_draws(self, arrays: DimensionArrays, draws: BootstrapDraws) -> np.ndarray | None:
        """τ_b in every draw; None above `MOST_RECORDS` or `MOST_CLUSTERS`."""
        present, cluster = np.unique(arrays.cluster, return_inverse=True)
        if not 0 < arrays.n <= MOST_RECORDS or len(present) > MOST_CLUSTERS:
            return None
        counts = BootstrapDraws(draws.counts[:, present])
        signs = pair_signs(arrays.predicted, arrays.rated, cluster, len(present))
        weights = counts.counts.astype(float)
        agreement = np.einsum("bg,bg->b", weights @ signs, weights)
        untied_x = _untied_pairs(arrays.predicted, cluster, counts)
        untied_y = _untied_pairs(arrays.rated, cluster, counts)
        return ratio(agreement, np.sqrt(untied_x * untied_y))


def pair_signs(x: np.ndarray, y: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Σ sgn(xᵢ−xⱼ)·sgn(yᵢ−yⱼ) over the records i, j of each two clusters: (clusters, clusters).

    With the counts w of a draw, wᵀ S w is 2(P − Q) of that draw.
    """
    order = np.argsort(cluster, kind="stable")
    x, y = x[order], y[order]
    starts = np.searchsorted(cluster[order], np.arange(clusters))
    ends = np.append(starts[1:], len(x))
    signs = np.empty((clusters, clusters))
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        products = np.sign(x[start:end, None] - x) * np.sign(y[start:end, None] - y)
        signs[row] = np.add.reduceat(products.sum(axis=0), starts)
    return signs


def _untied_pairs(values: np.ndarray, cluster: np.ndarray, draws: BootstrapDraws) -> np.ndarray:
    """N² − ΣT², the number of ordered pairs with different values, in every draw: (draws,)."""
    groups = TieGroups(values)
    pairs = np.empty(len(draws))
    for rows, weights in draws.weights(cluster[groups.order]):
        totals = groups.totals(weights)
        pairs[rows] = weights.sum(axis=1) ** 2 - (totals * totals).sum(axis=1)
    return pairs
