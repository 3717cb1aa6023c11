"""The spread of scores between several wordings of a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.evaluation.dimension_arrays import cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.calibration import RaterSpread
from dramaeval.evaluation.metrics.metric import mean_of_defined, metric_values
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.units import divisors


def with_wordings(summary: dict[str, Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Add the spread between wordings to a summary (`summarise`), if questions have several wordings.

    Each dimension gets ``wording``: the number of ``wordings``, ``spread`` (the `deviation` of the
    expected score between wordings, in score units) and ``pearson`` under each single wording (None
    if it is undefined). The macro gets the mean ``spread`` of the dimensions, and as ``pearson_range`` the mean
    difference of the highest and the lowest ``pearson``.
    """
    spreads: dict[str, Any] = {}
    for key, values in summary["dimensions"].items():
        on_dimension = [p for p in predictions if p.dimension == key and p.wordings]
        if on_dimension:
            values["wording"] = _wording(key, on_dimension)
            spreads[key] = values["wording"]
    if spreads:
        correlations = [spread["pearson"] for spread in spreads.values()]
        # The spread is in score units: if the ranges of the scales differ, its mean is in ranges.
        by = divisors(RaterSpread(), {p.dimension: p.scale[-1] - p.scale[0] for p in predictions})
        summary["macro"]["wording"] = {
            "wordings": max(spread["wordings"] for spread in spreads.values()),
            "spread": mean_of_defined(entry["spread"] / by[key] for key, entry in spreads.items()),
            "pearson_range": mean_of_defined(
                max(values) - min(values) for values in correlations if None not in values
            ),
        }
    return summary


def deviation(table: np.ndarray) -> float:
    """Standard deviation between wordings of values ``[records, wordings]``: the root of the mean variance.

    Each variance has the divisor wordings − 1, because the wordings are a sample of all possible wordings.
    """
    return float(np.sqrt(table.var(axis=1, ddof=1).mean()))


def _wording(key: str, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The entry ``wording`` of one dimension."""
    table = np.array([prediction.wordings for prediction in predictions], dtype=np.float64)
    arrays = dimension_arrays(key, predictions, cluster_names(predictions))
    rated = np.array([prediction.mean_rating is not None for prediction in predictions])
    pearson = {"pearson": Pearson()}
    return {
        "wordings": table.shape[1],
        "spread": deviation(table),
        "pearson": [
            metric_values(pearson, replace(arrays, predicted=scores))[0]["pearson"]
            for scores in table[rated].T
        ],
    }


def wording_text(summary: Mapping[str, Any]) -> str | None:
    """Describe the spread in a sentence; None with one wording."""
    macro = summary["macro"].get("wording")
    if macro is None:
        return None
    text = f"Over {macro['wordings']} wordings a score varies by {macro['spread']:.3f} (standard deviation)"
    if macro["pearson_range"] is not None:
        text += f", a dimension's Pearson by {macro['pearson_range']:.3f} (highest minus lowest)"
    return text + "."
