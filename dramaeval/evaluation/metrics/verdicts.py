"""Pass or fail: the judge's verdict against the raters' majority."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays


class Verdicts(NamedTuple):
    """How many records fall where in every draw, each (draws,)."""

    true_pass: np.ndarray
    false_pass: np.ndarray
    false_fail: np.ndarray
    true_fail: np.ndarray


def verdicts(answers: DimensionArrays) -> tuple[np.ndarray, np.ndarray]:
    """Raters' majority and judge's verdict, two (m,) arrays of 0 and 1, ties of raters left out."""
    clear = ~np.isnan(answers.majority)
    return answers.majority[clear].astype(int), answers.predicted_step[clear]


def of_verdicts(answers: DimensionArrays, value: Callable[[Verdicts], np.ndarray]) -> Summands:
    """A statistic of how many records of a draw are of each of the four kinds."""
    truth, judge = verdicts(answers)
    kinds = np.stack(
        [truth * judge, (1 - truth) * judge, truth * (1 - judge), (1 - truth) * (1 - judge)], axis=1
    )
    return Summands(
        cluster=answers.cluster[~np.isnan(answers.majority)],
        columns=kinds.astype(float),
        value=lambda sums: value(Verdicts(*sums.T)),
    )
