"""Spearman's rank correlation of expected scores with mean ratings."""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import BootstrapDraws
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, require_variation
from dramaeval.evaluation.metrics.ranks import (
    TieGroups,
    doubled_deviations,
    ordered_sum,
    squared_deviations,
)


class Spearman:
    """ρ = Pearson's r of the mid-ranks, ties sharing their mean rank (Spearman 1904)."""

    name = "spearman"
    exchange = Exchange.RANKED

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined under 3 records or where one side is constant."""
        require_variation(answers)
        return float(scipy.stats.spearmanr(answers.predicted, answers.rated).statistic)

    def over_draws(self, answers: DimensionArrays, draws: BootstrapDraws) -> np.ndarray:
        """The same in every draw, exact under ties (see `ranks.py`)."""
        return spearman_over_draws(answers.predicted, answers.rated, answers.cluster, draws)


def spearman_over_draws(
    x: np.ndarray, y: np.ndarray, cluster: np.ndarray, draws: BootstrapDraws
) -> np.ndarray:
    """Σw(R−R̄)(S−S̄) / √(Σw(R−R̄)² Σw(S−S̄)²) with R, S the mid-ranks of the draw: (draws,).

    R̄ = S̄ = (N+1)/2 in a draw of N records. NaN where one side of a draw is constant. All sums are over whole
    numbers, hence exact in double precision (as long as N³ is under 2⁵³), whatever their order.
    """
    values = np.full(len(draws), np.nan)
    if len(x) == 0:
        return values
    in_x, in_y = TieGroups(x), TieGroups(y)
    # Records stand in the order of x throughout.
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
        with np.errstate(invalid="ignore", divide="ignore"):
            values[rows] = np.where(product > 0, covariance / np.sqrt(product), np.nan)
    return values
