"""Balanced accuracy on pass/fail scales: passed and failed records weigh the same."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.auroc import require_both
from dramaeval.evaluation.metrics.metric import Exchange, SummedMetric, require_pass_fail
from dramaeval.evaluation.metrics.verdicts import Verdicts, of_verdicts, verdicts


class BalancedAccuracy(SummedMetric):
    """½ (TP/P + TN/F): the judge passes from an expected score of 0.5 on; truth is the majority.

    Records on which the raters are even are left out. Guessing gives 0.5 however rare failing is.
    """

    name = "balanced_accuracy"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined where all records passed, or all failed."""
        require_pass_fail(answers)
        truth, judge = verdicts(answers)
        require_both(truth)
        from sklearn.metrics import balanced_accuracy_score  # takes a second to import

        return float(balanced_accuracy_score(truth, judge))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        require_pass_fail(answers)
        return of_verdicts(answers, _balanced)


def _balanced(found: Verdicts) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        right_on_passed = found.true_pass / (found.true_pass + found.false_fail)
        right_on_failed = found.true_fail / (found.true_fail + found.false_pass)
    return (right_on_passed + right_on_failed) / 2
