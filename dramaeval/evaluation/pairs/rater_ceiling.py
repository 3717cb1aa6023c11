"""The agreement between the raters of pairs, by the rules for the agreement between judge and raters."""

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
    """Each vote on a pair with two or more votes, with the verdict of the other votes on it: each ``(votes,)``."""

    vote: np.ndarray
    others: np.ndarray
    judged: np.ndarray
    preferred: np.ndarray
    row: np.ndarray

    @classmethod
    def from_arrays(cls, arrays: PairArrays) -> LeftOut:
        """Leave out every vote once; the raters need not be known."""
        counts = vote_counts(arrays.signs)
        used = ~np.isnan(arrays.signs) & (counts.sum(axis=1, keepdims=True) >= 2)
        row, column = np.nonzero(used)
        vote = arrays.signs[row, column]
        this_vote = np.stack([vote == verdict for verdict in (A, TIE, B)], axis=1)
        return cls(
            vote=vote,
            others=majority(counts[row] - this_vote),
            judged=arrays.judged[row],
            preferred=np.sign(arrays.difference)[row],
            row=row,
        )


def ceiling_values(arrays: PairArrays) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
    """The agreement of each vote with the verdict of the other votes on the pair.

    Returns:
        by name one number per vote, ``(votes,)``, NaN if the vote is left out; and the row of each vote. ``accuracy``
        and ``accuracy_untied`` have the rules of these metrics in `pair_metrics`. ``judge_…`` is the agreement of the
        judge with the same verdicts: it is the value to compare with the ceiling, because verdicts of fewer raters
        have more noise.
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
    for name, by_vote in values.items():
        defined = ~np.isnan(by_vote)
        cluster = arrays.cluster[row[defined]]
        summands[name] = of_mean(by_vote[defined], cluster, lambda mean: mean)
    return summands
