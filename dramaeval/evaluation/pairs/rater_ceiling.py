"""The agreement between the raters of pairs, counted as that between judge and raters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.metrics.moments import of_mean
from dramaeval.evaluation.pairs.pair_arrays import TIE, A, B, PairArrays, majority, vote_counts

NO_SECOND_RATER = "no pair has the votes of two raters"


@dataclass(frozen=True, kw_only=True, eq=False)
class LeftOut:
    """Each vote of a pair with two or more, beside the verdict of the pair's other votes: ``(votes,)``."""

    vote: np.ndarray
    others: np.ndarray
    judged: np.ndarray
    preferred: np.ndarray
    row: np.ndarray

    @classmethod
    def from_arrays(cls, arrays: PairArrays) -> LeftOut:
        """Leave out every vote once. Who gave it does not matter, hence raters need not be known."""
        counts = vote_counts(arrays.signs)
        given = ~np.isnan(arrays.signs) & (counts.sum(axis=1, keepdims=True) >= 2)
        row, column = np.nonzero(given)
        vote = arrays.signs[row, column]
        own = np.stack([vote == verdict for verdict in (A, TIE, B)], axis=1)
        return cls(
            vote=vote,
            others=majority(counts[row] - own),
            judged=arrays.judged[row],
            preferred=np.sign(arrays.difference)[row],
            row=row,
        )


def ceiling_values(arrays: PairArrays) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
    """Agreement of each vote with the verdict of the pair's other votes, on the rules of the accuracies.

    Returns:
        by name one number a vote, ``(votes,)``, NaN where the rule leaves it out, and the row of each. ``accuracy``
        counts as `pair_metrics.accuracy`, ``accuracy_untied`` as `accuracy_untied`, where a rater's tie is wrong as
        the judge's is. ``judge_…`` is the judge against the same verdicts of the other raters: it compares with the
        ceiling, because a verdict of fewer raters is noisier.
    """
    left = LeftOut.from_arrays(arrays)
    decided = left.others != TIE
    values = {
        "accuracy": (left.vote == left.others).astype(float),
        "accuracy_untied": np.where(decided, left.vote == left.others, np.nan),
        "judge_accuracy": (left.judged == left.others).astype(float),
        "judge_accuracy_untied": np.where(decided, left.preferred == left.others, np.nan),
    }
    return values, left.row


def ceiling_summands(arrays: PairArrays) -> dict[str, Summands]:
    """The means of `ceiling_values` over all votes, as functions of sums over the pairs of a draw."""
    values, row = ceiling_values(arrays)
    summands = {}
    for name, each in values.items():
        known = ~np.isnan(each)
        cluster = arrays.cluster[row[known]]
        summands[name] = of_mean(each[known], cluster, lambda mean: mean)
    return summands
