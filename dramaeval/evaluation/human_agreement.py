"""The human side of a dimension: how well raters agree, and whether the judge could be one."""

from __future__ import annotations

from typing import Any

import numpy as np

from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.alternative_annotator import alternative_annotator_test
from dramaeval.evaluation.metrics.krippendorff import ordinal_alpha
from dramaeval.evaluation.metrics.leave_one_rater_out import (
    leave_one_rater_out,
)
from dramaeval.evaluation.metrics.metric import UndefinedError


def ceiling_of(ratings: np.ndarray) -> dict[str, Any]:
    """Leave-one-rater-out correlations and alpha, from the ratings of one dimension (n, R), NaN where missing.

    Records the judge left unscored belong to them too, so that the ceiling is the same for every judge.
    """
    ceiling = leave_one_rater_out(ratings)
    found: dict[str, Any] = {
        "pearson": ceiling.pearson,
        "spearman": ceiling.spearman,
        "pearson_each": list(ceiling.pearson_each),
        "spearman_each": list(ceiling.spearman_each),
        "raters": ceiling.raters,
        "raters_used": sum(value is not None for value in ceiling.pearson_each),
        "n": ceiling.records,
        "krippendorff_alpha": None,
        "undefined": {},
    }
    if ceiling.pearson is None:
        reason = "no rater has 3 records, rated differently, that another rater rated too"
        found["undefined"] = {"pearson": reason, "spearman": reason}
    try:
        found["krippendorff_alpha"] = ordinal_alpha(ratings)
    except UndefinedError as error:
        found["undefined"]["krippendorff_alpha"] = str(error)
    return found


def alternative_annotator(answers: DimensionArrays, epsilon: float) -> dict[str, Any]:
    """The alternative annotator test as plain values; on a pass/fail scale the judge's verdict.

    (Between 0 and 1 alone, the squared distance to raters' zeros and ones is their accuracy.)
    """
    predicted = answers.predicted
    if answers.pass_fail:
        predicted = answers.predicted_step.astype(float)
    try:
        test = alternative_annotator_test(predicted, answers.ratings, epsilon=epsilon)
    except UndefinedError as error:
        return {
            "winning_rate": None,
            "advantage_probability": None,
            "passed": None,
            "epsilon": epsilon,
            "undefined": str(error),
        }
    return {
        "winning_rate": test.winning_rate,
        "advantage_probability": test.advantage_probability,
        "passed": test.passed,
        "epsilon": test.epsilon,
        "p_values": list(test.p_values),
        "raters_tested": test.raters_tested,
        "raters_skipped": test.raters_skipped,
    }
