"""Spearman's rank correlation of expected scores with mean ratings."""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.answers import Answers
from dramaeval.evaluation.bootstrap import Draws
from dramaeval.evaluation.metrics.metric import Exchange, require_variation
from dramaeval.evaluation.metrics.ranks import TieGroups, midranks


class Spearman:
    """ρ = Pearson's r of the mid-ranks, ties sharing their mean rank (Spearman 1904)."""

    name = "spearman"
    exchange = Exchange.RANKED

    def __call__(self, answers: Answers) -> float:
        """Undefined under 3 records or where one side is constant."""
        require_variation(answers)
        return float(scipy.stats.spearmanr(answers.predicted, answers.rated).statistic)

    def over_draws(self, answers: Answers, draws: Draws) -> np.ndarray:
        """The same in every draw, exact under ties (see `ranks.py`)."""
        return spearman_over_draws(answers.predicted, answers.rated, answers.cluster, draws)


def spearman_over_draws(
    x: np.ndarray, y: np.ndarray, cluster: np.ndarray, draws: Draws
) -> np.ndarray:
    """Σw(R−R̄)(S−S̄) / √(Σw(R−R̄)² Σw(S−S̄)²) with R, S the mid-ranks of the draw: (draws,).

    R̄ = S̄ = (N+1)/2 in a draw of N records. NaN where one side of a draw is constant.
    """
    values = np.full(len(draws), np.nan)
    if len(x) == 0:
        return values
    in_x, in_y = TieGroups(x), TieGroups(y)
    # Records stand in the order of x throughout; y_order brings them into the order of y.
    y_group = in_y.group[in_x.order]
    y_order = np.argsort(y_group, kind="stable")
    for rows, weights in draws.weights(cluster[in_x.order]):
        middle = (weights.sum(axis=1, keepdims=True) + 1) / 2
        totals_x = in_x.totals(weights)
        ranks_x = midranks(totals_x) - middle
        totals_y = in_y.totals(np.take(weights, y_order, axis=1))
        ranks_y = midranks(totals_y) - middle
        square_x = np.einsum("bg,bg,bg->b", totals_x, ranks_x, ranks_x)
        square_y = np.einsum("bg,bg,bg->b", totals_y, ranks_y, ranks_y)
        weights *= np.take(ranks_y, y_group, axis=1)  # in place: totals_x may be the same array
        covariance = np.einsum("bg,bg->b", in_x.totals(weights), ranks_x)
        product = square_x * square_y
        with np.errstate(invalid="ignore", divide="ignore"):
            values[rows] = np.where(product > 0, covariance / np.sqrt(product), np.nan)
    return values
