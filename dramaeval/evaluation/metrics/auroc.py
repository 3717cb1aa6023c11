"""Area under the ROC curve: does the judge put what passed above what failed?"""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import BootstrapDraws
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, UndefinedError, require_pass_fail
from dramaeval.evaluation.metrics.ranks import TieGroups, midranks


class Auroc:
    """P(x_pass > x_fail) + ½ P(x_pass = x_fail) (Hanley & McNeil 1982), pass/fail scales only.

    Passed is what most raters passed; records on which they are even are left out (and counted as
    `majority_ties` in the summary).
    """

    name = "auroc"
    exchange = Exchange.RANKED

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined where all records passed, or all failed."""
        require_pass_fail(answers)
        clear = ~np.isnan(answers.majority)
        require_both(answers.majority[clear])
        from sklearn.metrics import roc_auc_score  # takes a second to import

        return float(roc_auc_score(answers.majority[clear], answers.predicted[clear]))

    def over_draws(self, answers: DimensionArrays, draws: BootstrapDraws) -> np.ndarray:
        """(Σ mid-ranks of the passed − P(P+1)/2) / (P·F) in every draw, P passed and F failed."""
        require_pass_fail(answers)
        clear = np.flatnonzero(~np.isnan(answers.majority))
        values = np.full(len(draws), np.nan)
        if len(clear) == 0:
            return values
        groups = TieGroups(answers.predicted[clear])
        passed = answers.majority[clear][groups.order]
        for rows, weights in draws.weights(answers.cluster[clear][groups.order]):
            ranks = midranks(groups.totals(weights))
            total = weights.sum(axis=1)
            weights *= passed
            won = weights.sum(axis=1)
            rank_sum = np.einsum("bg,bg->b", groups.totals(weights), ranks)
            pairs = won * (total - won)
            with np.errstate(invalid="ignore", divide="ignore"):
                above = (rank_sum - won * (won + 1) / 2) / pairs
            values[rows] = np.where(pairs > 0, above, np.nan)
        return values


def require_both(majority: np.ndarray) -> None:
    """Raise UndefinedError unless `majority` (n,) of ones and zeros holds both."""
    if len(majority) == 0:
        raise UndefinedError("no record has a clear majority of raters")
    if majority.min() == majority.max():
        raise UndefinedError(
            f"every record {'passed' if majority[0] else 'failed'} with the raters"
        )
