"""The spread of scores between several sampled thoughts about a question."""

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


def with_thoughts(summary: dict[str, Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Add the spread between sampled thoughts to a summary (`summarise`), if several thoughts are sampled.

    Each dimension gets ``thought``: the number of ``samples`` per question, ``spread`` (see `deviation`),
    ``pearson_single`` (the mean Pearson with one thought instead of all; None if it is undefined), the number of
    ``thoughts``, and the number of ``unscored`` thoughts, which do not end or contain markup. The macro gets the means
    of ``spread`` and ``pearson_single``, and the sums of the numbers.
    """
    by_dimension: dict[str, dict[str, Any]] = {}
    for key, values in summary["dimensions"].items():
        on_dimension = [p for p in predictions if p.dimension == key and p.thoughts]
        if on_dimension:
            values["thought"] = by_dimension[key] = _thought(key, on_dimension)
    if by_dimension:
        # The spread is in score units: if the ranges of the scales differ, its mean is in ranges.
        by = divisors(RaterSpread(), {p.dimension: p.scale[-1] - p.scale[0] for p in predictions})
        figures = by_dimension.values()
        spreads = {key: figure["spread"] for key, figure in by_dimension.items()}
        summary["macro"]["thought"] = {
            "samples": max(figure["samples"] for figure in figures),
            "spread": mean_of_defined(
                spread / by[key] for key, spread in spreads.items() if spread is not None
            ),
            "pearson_single": mean_of_defined(
                value for figure in figures if (value := figure["pearson_single"]) is not None
            ),
            **{name: sum(figure[name] for figure in figures) for name in ("thoughts", "unscored")},
        }
    return summary


def deviation(table: np.ndarray) -> float | None:
    """Standard deviation between thoughts of scores ``[questions, thoughts]``: the root of the mean variance.

    NaN marks a thought without a score. Each variance has the divisor thoughts − 1, which is also its weight in the
    mean, because questions may have different numbers of thoughts. None if no question has two thoughts with a score.
    """
    counts = (~np.isnan(table)).sum(axis=1)
    table, counts = table[counts > 1], counts[counts > 1]
    if not len(table):
        return None
    squares = np.nansum((table - np.nanmean(table, axis=1, keepdims=True)) ** 2)
    return float(np.sqrt(squares / (counts - 1).sum()))


def _thought(key: str, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The entry ``thought`` of one dimension."""
    # Shape [records, wordings, thoughts]: the thoughts of a wording are adjacent.
    wordings = max(len(prediction.wordings or (0,)) for prediction in predictions)
    scores = np.array([prediction.thoughts for prediction in predictions], dtype=np.float64)
    scores = scores.reshape(len(predictions), wordings, -1)
    return {
        "samples": scores.shape[2],
        "spread": deviation(scores.reshape(-1, scores.shape[2])),
        "pearson_single": mean_of_defined(
            value
            for column in scores.mean(axis=1).T
            if (value := _pearson(key, predictions, column)) is not None
        ),
        "thoughts": scores.size,
        "unscored": int(np.isnan(scores).sum()),
    }


def _pearson(key: str, predictions: Sequence[Prediction], scores: np.ndarray) -> float | None:
    """Pearson of scores ``[records]`` with the mean ratings, over the records that have both; None if undefined."""
    has_both = [
        prediction.scored and prediction.mean_rating is not None and not np.isnan(score)
        for prediction, score in zip(predictions, scores, strict=True)
    ]
    used = [prediction for prediction, both in zip(predictions, has_both, strict=True) if both]
    if not used:
        return None
    arrays = dimension_arrays(key, used, cluster_names(used))
    arrays = replace(arrays, predicted=scores[np.array(has_both)])
    return metric_values({"pearson": Pearson()}, arrays)[0]["pearson"]


def thought_text(summary: Mapping[str, Any]) -> str | None:
    """Describe the entry ``thought`` of the macro in a sentence; None if no thoughts are sampled."""
    macro = summary["macro"].get("thought")
    if macro is None:
        return None
    parts = []
    if macro["spread"] is not None:
        parts.append(f"a score varies by {macro['spread']:.3f} (standard deviation)")
    if macro["pearson_single"] is not None:
        parts.append(f"the macro Pearson with a single thought is {macro['pearson_single']:.3f}")
    parts.append(
        f"{macro['unscored']:,} of {macro['thoughts']:,} thoughts have no score, because they do not end or hold markup"
    )
    return f"Over {macro['samples']} sampled thoughts " + "; ".join(parts) + "."
