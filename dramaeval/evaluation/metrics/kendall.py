"""Kendall's tau-b: of two clips, how often judge and raters agree which is better."""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import BootstrapDraws
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, require_variation
from dramaeval.evaluation.metrics.ranks import TieGroups

MOST_RECORDS = 4_000
MOST_CLUSTERS = 2_000
"""Beyond these the pairs are too many to draw: no interval is given (16 GFLOP at the limit)."""


class Kendall:
    """τ_b = (P − Q) / √((P+Q+Tₓ)(P+Q+T_y)) over pairs: agreeing, opposed, tied (Kendall 1945)."""

    name = "kendall"
    exchange = Exchange.RANKED

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined under 3 records or where one side is constant."""
        require_variation(answers)
        return float(
            scipy.stats.kendalltau(answers.predicted, answers.rated, variant="b").statistic
        )

    def over_draws(self, answers: DimensionArrays, draws: BootstrapDraws) -> np.ndarray | None:
        """The same in every draw; None on data too large to draw (see the limits above)."""
        present, cluster = np.unique(answers.cluster, return_inverse=True)
        if not 0 < answers.n <= MOST_RECORDS or len(present) > MOST_CLUSTERS:
            return None
        counts = BootstrapDraws(draws.counts[:, present])
        signs = pair_signs(answers.predicted, answers.rated, cluster, len(present))
        weights = counts.counts.astype(float)
        agreement = np.einsum("bg,bg->b", weights @ signs, weights)
        untied_x = _untied_pairs(answers.predicted, cluster, counts)
        untied_y = _untied_pairs(answers.rated, cluster, counts)
        product = untied_x * untied_y
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(product > 0, agreement / np.sqrt(product), np.nan)


def pair_signs(x: np.ndarray, y: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Σ sgn(xᵢ−xⱼ)·sgn(yᵢ−yⱼ) over the records i, j of each two clusters: (clusters, clusters).

    With the counts w of a draw, wᵀ S w is then 2(P − Q) of that draw.
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
    """N² − ΣT²: ordered pairs of different value in every draw, (draws,)."""
    groups = TieGroups(values)
    pairs = np.empty(len(draws))
    for rows, weights in draws.weights(cluster[groups.order]):
        totals = groups.totals(weights)
        pairs[rows] = weights.sum(axis=1) ** 2 - (totals * totals).sum(axis=1)
    return pairs
