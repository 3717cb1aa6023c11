"""How far scores depend on the wording of the question, where several were asked."""

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
    """Add the spread due to wording to a summary (`summarise`), where several wordings were asked.

    Each dimension gets ``wording``: how many there were, ``spread`` (the `deviation` of the
    expected score between wordings, in scores) and ``pearson`` under each wording alone (None
    where it is undefined). The macro gets the means of the dimensions' ``spread``, and of the highest minus
    the lowest ``pearson`` as ``pearson_range``.
    """
    found = {}
    for key, values in summary["dimensions"].items():
        asked = [one for one in predictions if one.dimension == key and one.wordings]
        if asked:
            found[key] = values["wording"] = wording_of(key, asked)
    if found:
        ranges = [
            max(one["pearson"]) - min(one["pearson"])
            for one in found.values()
            if None not in one["pearson"]
        ]
        summary["macro"]["wording"] = {
            "wordings": max(one["wordings"] for one in found.values()),
            "spread": float(np.mean([one["spread"] for one in found.values()])),
            "pearson_range": float(np.mean(ranges)) if ranges else None,
        }
    return summary


def deviation(table: np.ndarray) -> float:
    """How far values under several wordings lie apart: the root of the mean variance, ``[records, wordings]``.

    Each variance has the divisor one less than the wordings, since they are a sample of all that one could say.
    """
    return float(np.sqrt(table.var(axis=1, ddof=1).mean()))


def wording_of(key: str, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The spread between wordings of one dimension; see `with_wordings`."""
    table = np.array([one.wordings for one in predictions], dtype=np.float64)
    correlations: list[float | None] = []
    clusters = cluster_names(predictions)
    answers = dimension_arrays(key, predictions, clusters)
    kept = np.array([one.mean_rating is not None for one in predictions])
    for column in table[kept].T:
        try:
            correlations.append(value_of(Pearson(), replace(answers, predicted=column)))
        except UndefinedError:
            correlations.append(None)
    return {
        "wordings": table.shape[1],
        "spread": deviation(table),
        "pearson": correlations,
    }


def wording_text(summary: Mapping[str, Any]) -> str | None:
    """The spread in a line, or None where one wording was asked."""
    macro = summary["macro"].get("wording")
    if macro is None:
        return None
    text = f"Between {macro['wordings']} wordings a score varies by {macro['spread']:.3f} (standard deviation)"
    if macro["pearson_range"] is not None:
        text += f", a dimension's Pearson by {macro['pearson_range']:.3f} (highest minus lowest)"
    return text + "."
