"""Metrics of pass/fail scales: AUROC, balanced accuracy and F1.

The truth is the majority of a record's raters; records on which the raters are tied are left out (the summary
counts them as `majority_ties`). The judge passes a record if its expected score is at least 0.5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dramaeval.evaluation.bootstrap import BootstrapDraws, Summands, one_draw, ratio
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    NotApplicableError,
    SummedMetric,
    UndefinedError,
)


class Auroc:
    """P(x_pass > x_fail) + ½ P(x_pass = x_fail) (Hanley & McNeil 1982)."""

    name = "auroc"
    exchange = Exchange.RANKED

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined if all records passed or all failed."""
        _require_pass_fail(arrays)
        _require_both(arrays.majority[~np.isnan(arrays.majority)])
        return float(self.over_draws(arrays, one_draw(arrays.cluster))[0])

    def over_draws(self, arrays: DimensionArrays, draws: BootstrapDraws) -> np.ndarray:
        """The area in every draw; NaN in draws without a passed or a failed record."""
        _require_pass_fail(arrays)
        passed, failed = (np.flatnonzero(arrays.majority == verdict) for verdict in (1, 0))
        return auroc_over_draws(
            arrays.predicted[passed],
            arrays.cluster[passed],
            arrays.predicted[failed],
            arrays.cluster[failed],
            draws,
        )


def auroc_over_draws(
    positive: np.ndarray,
    positive_cluster: np.ndarray,
    negative: np.ndarray,
    negative_cluster: np.ndarray,
    draws: BootstrapDraws,
) -> np.ndarray:
    """The area in every draw, ``(draws,)``; NaN if a group is empty in the draw. The cost is draws × values."""
    order = np.argsort(negative, kind="stable")
    below = np.searchsorted(negative[order], positive, side="left")
    up_to = np.searchsorted(negative[order], positive, side="right")
    cluster = np.concatenate([positive_cluster, negative_cluster[order]])
    areas = np.full(len(draws), np.nan)
    for rows, weights in draws.weights(cluster):
        positive_weights, negatives = weights[:, : len(positive)], weights[:, len(positive) :]
        running = np.concatenate([np.zeros((len(weights), 1)), negatives.cumsum(axis=1)], axis=1)
        wins = (positive_weights * (running[:, below] + running[:, up_to])).sum(axis=1) / 2
        areas[rows] = ratio(wins, positive_weights.sum(axis=1) * running[:, -1])
    return areas


class BalancedAccuracy(SummedMetric):
    """½ (TP/P + TN/F) for P passed and F failed records. Guessing gives 0.5, even if few records fail."""

    name = "balanced_accuracy"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined if all records passed or all failed."""
        truth, _ = _verdicts(arrays)
        _require_both(truth)
        return self.summands(arrays).whole

    def summands(self, arrays: DimensionArrays) -> Summands:
        """See `_of_verdicts`."""
        return _of_verdicts(arrays, _balanced)


def _balanced(sums: np.ndarray) -> np.ndarray:
    records, passed, verdicts, both = sums.T
    right_on_failed = ratio(records - passed - verdicts + both, records - passed)
    return (ratio(both, passed) + right_on_failed) / 2


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
        return self.summands(arrays).whole

    def summands(self, arrays: DimensionArrays) -> Summands:
        """See `_of_verdicts`."""
        return _of_verdicts(arrays, _f1)


def _f1(sums: np.ndarray) -> np.ndarray:
    _, passed, verdicts, both = sums.T
    return ratio(2 * both, passed + verdicts)


def _verdicts(arrays: DimensionArrays) -> tuple[np.ndarray, np.ndarray]:
    """The raters' majority and the judge's verdict, 0 or 1, on the m records without a tie: each (m,)."""
    _require_pass_fail(arrays)
    clear = ~np.isnan(arrays.majority)
    return arrays.majority[clear].astype(int), arrays.predicted_step[clear]


def _of_verdicts(arrays: DimensionArrays, value: Callable[[np.ndarray], np.ndarray]) -> Summands:
    """A statistic of a draw's numbers of records: all, passed by the raters, passed by the judge, passed by both."""
    truth, judge = _verdicts(arrays)
    return Summands(
        cluster=arrays.cluster[~np.isnan(arrays.majority)],
        columns=np.stack([np.ones(len(truth)), truth, judge, truth * judge], axis=1),
        value=value,
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
