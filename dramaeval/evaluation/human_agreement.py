"""Agreement between the raters of a dimension, and the alternative annotator test of the judge."""

from __future__ import annotations

from typing import Any

import numpy as np

from dramaeval.evaluation.dimension_arrays import ONLY_MEANS, DimensionArrays, by_rater
from dramaeval.evaluation.metrics.alternative_annotator import EPSILON, alternative_annotator_test
from dramaeval.evaluation.metrics.krippendorff import ordinal_alpha
from dramaeval.evaluation.metrics.leave_one_rater_out import leave_one_rater_out
from dramaeval.evaluation.metrics.metric import UndefinedError


def ceiling_of(
    ratings: np.ndarray, known: np.ndarray | None = None, why_unknown: str | None = None
) -> dict[str, Any]:
    """Leave-one-rater-out correlations and alpha, from the ratings of one dimension (n, R), NaN where missing.

    Records that the judge did not score count too, so that the ceiling is the same for every judge. The correlations
    use only records whose raters are ``known`` (n,); alpha uses the ratings of all records. ``why_unknown`` is the
    reason if no raters are known.
    """
    values = leave_one_rater_out(by_rater(ratings, known))
    values |= {"krippendorff_alpha": None, "undefined": {}}
    if values["pearson"] is None:
        reason = "no rater has 3 records, with different ratings, that another rater also rated"
        reason = why_unknown or reason
        values["undefined"] = {"pearson": reason, "spearman": reason}
    try:
        values["krippendorff_alpha"] = ordinal_alpha(ratings)
    except UndefinedError as error:
        only_means = why_unknown == ONLY_MEANS
        values["undefined"]["krippendorff_alpha"] = ONLY_MEANS if only_means else str(error)
    return values


def alternative_annotator(
    arrays: DimensionArrays, why_unknown: str | None = None
) -> dict[str, Any]:
    """The result of `alternative_annotator_test`, or the reason for its absence.

    A pass/fail score is first rounded to 0 or 1, as the raters' scores are. ``why_unknown`` is the reason if no raters
    are known.
    """
    predicted = arrays.predicted_step.astype(float) if arrays.pass_fail else arrays.predicted
    try:
        return alternative_annotator_test(predicted, arrays.ratings_by_rater)
    except UndefinedError as error:
        nothing = dict.fromkeys(("winning_rate", "advantage_probability", "passed"))
        return {**nothing, "epsilon": EPSILON, "undefined": why_unknown or str(error)}
