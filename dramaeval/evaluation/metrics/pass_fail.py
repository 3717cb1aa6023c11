"""Metrics of pass/fail scales: AUROC, balanced accuracy and F1.

The truth is the majority of a record's raters; records on which the raters are tied are left out (the summary
counts them as `majority_ties`). The judge passes a record if its expected score is at least 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dramaeval.evaluation.bootstrap import BootstrapDraws, Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    NotApplicableError,
    SummedMetric,
    UndefinedError,
)
from dramaeval.evaluation.metrics.ranks import TieGroups, midranks


class Auroc:
    """P(x_pass > x_fail) + ½ P(x_pass = x_fail) (Hanley & McNeil 1982)."""

    name = "auroc"
    exchange = Exchange.RANKED

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined if all records passed or all failed."""
        _require_pass_fail(arrays)
        clear = ~np.isnan(arrays.majority)
        _require_both(arrays.majority[clear])
        from sklearn.metrics import roc_auc_score  # takes a second to import

        return float(roc_auc_score(arrays.majority[clear], arrays.predicted[clear]))

    def over_draws(self, arrays: DimensionArrays, draws: BootstrapDraws) -> np.ndarray:
        """(Σ mid-ranks of the passed records − P(P+1)/2) / (P·F) in every draw, for P passed and F failed records."""
        _require_pass_fail(arrays)
        clear = np.flatnonzero(~np.isnan(arrays.majority))
        values = np.full(len(draws), np.nan)
        if len(clear) == 0:
            return values
        groups = TieGroups(arrays.predicted[clear])
        passed = arrays.majority[clear][groups.order]
        for rows, weights in draws.weights(arrays.cluster[clear][groups.order]):
            ranks = midranks(groups.totals(weights))
            total = weights.sum(axis=1)
            weights *= passed
            passes = weights.sum(axis=1)
            rank_sum = np.einsum("bg,bg->b", groups.totals(weights), ranks)
            pairs = passes * (total - passes)
            with np.errstate(invalid="ignore", divide="ignore"):
                above = (rank_sum - passes * (passes + 1) / 2) / pairs
            values[rows] = np.where(pairs > 0, above, np.nan)
        return values


class ConfusionCounts(NamedTuple):
    """Numbers of records by truth and the judge's verdict in every draw, each (draws,)."""

    true_pass: np.ndarray
    false_pass: np.ndarray
    false_fail: np.ndarray
    true_fail: np.ndarray


class BalancedAccuracy(SummedMetric):
    """½ (TP/P + TN/F) for P passed and F failed records. Guessing gives 0.5, even if few records fail."""

    name = "balanced_accuracy"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined if all records passed or all failed."""
        truth, judge = _verdicts(arrays)
        _require_both(truth)
        from sklearn.metrics import balanced_accuracy_score  # takes a second to import

        return float(balanced_accuracy_score(truth, judge))

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The confusion counts."""
        return _of_confusion(arrays, _balanced)


def _balanced(counts: ConfusionCounts) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        right_on_passed = counts.true_pass / (counts.true_pass + counts.false_fail)
        right_on_failed = counts.true_fail / (counts.true_fail + counts.false_pass)
    return (right_on_passed + right_on_failed) / 2


class F1(SummedMetric):
    """2TP / (2TP + FP + FN), with passing as the positive class."""

    name = "f1"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined if neither the raters nor the judge pass a record."""
        truth, judge = _verdicts(arrays)
        if len(truth) == 0:
            raise UndefinedError("no record has a clear majority of raters")
        if not truth.any() and not judge.any():
            raise UndefinedError("neither the raters nor the judge pass any record")
        from sklearn.metrics import f1_score  # takes a second to import

        return float(f1_score(truth, judge))

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The confusion counts."""
        return _of_confusion(arrays, _f1)


def _f1(counts: ConfusionCounts) -> np.ndarray:
    total = 2 * counts.true_pass + counts.false_pass + counts.false_fail
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, 2 * counts.true_pass / total, np.nan)


def _verdicts(arrays: DimensionArrays) -> tuple[np.ndarray, np.ndarray]:
    """The raters' majority and the judge's verdict, 0 or 1, on the m records without a tie: each (m,)."""
    _require_pass_fail(arrays)
    clear = ~np.isnan(arrays.majority)
    return arrays.majority[clear].astype(int), arrays.predicted_step[clear]


def _of_confusion(
    arrays: DimensionArrays, value: Callable[[ConfusionCounts], np.ndarray]
) -> Summands:
    """A statistic of the confusion counts of a draw."""
    truth, judge = _verdicts(arrays)
    kinds = np.stack(
        [truth * judge, (1 - truth) * judge, truth * (1 - judge), (1 - truth) * (1 - judge)], axis=1
    )
    return Summands(
        cluster=arrays.cluster[~np.isnan(arrays.majority)],
        columns=kinds.astype(float),
        value=lambda sums: value(ConfusionCounts(*sums.T)),
    )


def _require_pass_fail(arrays: DimensionArrays) -> None:
    """Raise NotApplicableError unless the scale is 0-1."""
    if not arrays.pass_fail:
        raise NotApplicableError("for pass/fail scales only")


def _require_both(majority: np.ndarray) -> None:
    """Raise UndefinedError unless `majority` (n,) has both 1 and 0."""
    if len(majority) == 0:
        raise UndefinedError("no record has a clear majority of raters")
    if majority.min() == majority.max():
        raise UndefinedError(
            f"every record {'passed' if majority[0] else 'failed'} with the raters"
        )
