"""The spread of scores between several wordings of a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.evaluation.dimension_arrays import cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.metric import UndefinedError, value_of
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.predictions import Prediction


def with_wordings(summary: dict[str, Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Add the spread between wordings to a summary (`summarise`), where a question has several wordings.

    Each dimension gets ``wording``: the number of ``wordings``, ``spread`` (the `deviation` of the
    expected score between wordings, in scores) and ``pearson`` under each wording alone (None
    where it is undefined). The macro gets the means of the dimensions' ``spread``, and of the highest minus
    the lowest ``pearson`` as ``pearson_range``.
    """
    spreads = []
    for key, values in summary["dimensions"].items():
        several = [each for each in predictions if each.dimension == key and each.wordings]
        if several:
            values["wording"] = _wording(key, several)
            spreads.append(values["wording"])
    if spreads:
        ranges = [
            max(each["pearson"]) - min(each["pearson"])
            for each in spreads
            if None not in each["pearson"]
        ]
        summary["macro"]["wording"] = {
            "wordings": max(each["wordings"] for each in spreads),
            "spread": float(np.mean([each["spread"] for each in spreads])),
            "pearson_range": float(np.mean(ranges)) if ranges else None,
        }
    return summary


def deviation(table: np.ndarray) -> float:
    """Standard deviation between wordings of values ``[records, wordings]``: the root of the mean variance.

    Each variance has the divisor wordings − 1, because the wordings are a sample of all possible wordings.
    """
    return float(np.sqrt(table.var(axis=1, ddof=1).mean()))


def _wording(key: str, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The spread between wordings of one dimension."""
    table = np.array([each.wordings for each in predictions], dtype=np.float64)
    correlations: list[float | None] = []
    clusters = cluster_names(predictions)
    arrays = dimension_arrays(key, predictions, clusters)
    kept = np.array([each.mean_rating is not None for each in predictions])
    for column in table[kept].T:
        try:
            correlations.append(value_of(Pearson(), replace(arrays, predicted=column)))
        except UndefinedError:
            correlations.append(None)
    return {
        "wordings": table.shape[1],
        "spread": deviation(table),
        "pearson": correlations,
    }


def wording_text(summary: Mapping[str, Any]) -> str | None:
    """The spread in a sentence, or None with one wording."""
    macro = summary["macro"].get("wording")
    if macro is None:
        return None
    text = f"Over {macro['wordings']} wordings a score varies by {macro['spread']:.3f} (standard deviation)"
    if macro["pearson_range"] is not None:
        text += f", a dimension's Pearson by {macro['pearson_range']:.3f} (highest minus lowest)"
    return text + "."
