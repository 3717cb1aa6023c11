"""F1 of passing, on pass/fail scales."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    SummedMetric,
    UndefinedError,
    require_pass_fail,
)
from dramaeval.evaluation.metrics.verdicts import Verdicts, of_verdicts, verdicts


class F1(SummedMetric):
    """2TP / (2TP + FP + FN) of passing: expected score from 0.5 on against the raters' majority.

    Records on which the raters are even are left out.
    """

    name = "f1"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined where neither the raters nor the judge pass anything."""
        require_pass_fail(answers)
        truth, judge = verdicts(answers)
        if len(truth) == 0:
            raise UndefinedError("no record has a clear majority of raters")
        if not truth.any() and not judge.any():
            raise UndefinedError("neither the raters nor the judge pass any record")
        from sklearn.metrics import f1_score  # takes a second to import

        return float(f1_score(truth, judge))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        require_pass_fail(answers)
        return of_verdicts(answers, _f1)


def _f1(found: Verdicts) -> np.ndarray:
    whole = 2 * found.true_pass + found.false_pass + found.false_fail
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, 2 * found.true_pass / whole, np.nan)
