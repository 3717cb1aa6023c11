"""The agreement between the raters of pairs, by the rules for the agreement between judge and raters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.metrics.moments import of_mean
from dramaeval.evaluation.pairs.pair_arrays import TIE, PairArrays, majority, vote_counts

NO_SECOND_RATER = "no pair has the votes of two raters"


def ceiling_values(arrays: PairArrays) -> tuple[Mapping[str, np.ndarray], np.ndarray]:
    """The agreement of each vote with the verdict of the other votes on the pair; the raters need not be known.

    Returns:
        by name one number per vote, ``(votes,)``, NaN if the vote is left out; and the row of each vote. ``accuracy``
        and ``accuracy_untied`` have the rules of these metrics in `pair_metrics`. ``judge_…`` is the agreement of the
        judge with the same verdicts: it is the value to compare with the ceiling, because verdicts of fewer raters
        have more noise.
    """
    counts = vote_counts(arrays.signs)
    used = ~np.isnan(arrays.signs) & (counts.sum(axis=1, keepdims=True) >= 2)
    row, column = np.nonzero(used)
    vote = arrays.signs[row, column]
    others = majority(counts[row] - vote_counts(vote[:, None]))
    preferred = np.sign(arrays.difference)[row]
    decided = others != TIE
    values = {
        "accuracy": (vote == others).astype(float),
        "accuracy_untied": np.where(decided, vote == others, np.nan),
        "judge_accuracy": (arrays.judged[row] == others).astype(float),
        "judge_accuracy_untied": np.where(decided, preferred == others, np.nan),
    }
    return values, row


def ceiling_summands(arrays: PairArrays) -> dict[str, Summands]:
    """The means of `ceiling_values` over all votes, as functions of sums over the pairs of a draw."""
    values, row = ceiling_values(arrays)
    cluster = arrays.cluster[row]
    return {name: of_mean(by_vote, cluster, lambda mean: mean) for name, by_vote in values.items()}
