"""The spread of a question's scores: between several wordings, and between several sampled thoughts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.evaluation.dimension_arrays import cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.calibration import RaterSpread
from dramaeval.evaluation.metrics.metric import mean_of_defined, metric_values
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.units import divisors, unit_text


def with_wordings(summary: dict[str, Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Add the spread between wordings to a summary (`summarise`), if questions have several wordings.

    Each dimension gets ``wording``: the number of ``wordings``, ``spread`` (the `deviation` of the
    expected score between wordings, in score units) and ``pearson`` under each single wording (None
    if it is undefined). The macro gets the mean ``spread`` of the dimensions, and as ``pearson_range`` the mean
    difference of the highest and the lowest ``pearson``.
    """
    several = [prediction for prediction in predictions if prediction.wordings]
    entries = _add_to_dimensions(summary, several, "wording", _wording)
    if entries:
        correlations = [entry["pearson"] for entry in entries.values()]
        summary["macro"]["wording"] = {
            "wordings": max(entry["wordings"] for entry in entries.values()),
            "spread": _mean_spread(entries, predictions),
            "pearson_range": mean_of_defined(
                max(values) - min(values) for values in correlations if None not in values
            ),
        }
    return summary


def with_thoughts(summary: dict[str, Any], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Add the spread between sampled thoughts to a summary (`summarise`), if several thoughts are sampled.

    Each dimension gets ``thought``: the number of ``samples`` per question, ``spread`` (see `deviation`),
    ``pearson_single`` (the mean Pearson with one thought instead of all; None if it is undefined), the number of
    ``thoughts``, and the number of ``unscored`` thoughts, which do not end or contain markup. The macro gets the means
    of ``spread`` and ``pearson_single``, and the sums of the numbers.
    """
    several = [prediction for prediction in predictions if prediction.thoughts]
    entries = _add_to_dimensions(summary, several, "thought", _thought)
    if entries:
        figures = entries.values()
        summary["macro"]["thought"] = {
            "samples": max(figure["samples"] for figure in figures),
            "spread": _mean_spread(entries, predictions),
            "pearson_single": mean_of_defined(figure["pearson_single"] for figure in figures),
            **{name: sum(figure[name] for figure in figures) for name in ("thoughts", "unscored")},
        }
    return summary


def deviation(table: np.ndarray) -> float | None:
    """Standard deviation of scores ``[questions, variants]`` between the variants: the root of the mean variance.

    NaN marks a variant without a score. Each variance has the divisor variants − 1, because the variants are a sample
    of all possible ones; this is also its weight in the mean, because questions may have different numbers of scores.
    None if no question has two scores.
    """
    counts = (~np.isnan(table)).sum(axis=1)
    table, counts = table[counts > 1], counts[counts > 1]
    if not len(table):
        return None
    squares = np.nansum((table - np.nanmean(table, axis=1, keepdims=True)) ** 2)
    return float(np.sqrt(squares / (counts - 1).sum()))


def wording_text(summary: Mapping[str, Any]) -> str | None:
    """Describe the spread between wordings in a sentence; None with one wording."""
    macro = summary["macro"].get("wording")
    if macro is None:
        return None
    spread = f"{macro['spread']:.3f}{unit_text(summary['macro'])}"
    text = f"Over {macro['wordings']} wordings a score varies by {spread} (standard deviation)"
    if macro["pearson_range"] is not None:
        text += f", a dimension's Pearson by {macro['pearson_range']:.3f} (highest minus lowest)"
    return text + "."


def thought_text(summary: Mapping[str, Any]) -> str | None:
    """Describe the entry ``thought`` of the macro in a sentence; None if no thoughts are sampled."""
    macro = summary["macro"].get("thought")
    if macro is None:
        return None
    parts = []
    if macro["spread"] is not None:
        spread = f"{macro['spread']:.3f}{unit_text(summary['macro'])}"
        parts.append(f"a score varies by {spread} (standard deviation)")
    if macro["pearson_single"] is not None:
        parts.append(f"the macro Pearson with a single thought is {macro['pearson_single']:.3f}")
    parts.append(
        f"{macro['unscored']:,} of {macro['thoughts']:,} thoughts have no score, because they do not end or hold markup"
    )
    return f"Over {macro['samples']} sampled thoughts " + "; ".join(parts) + "."


def _add_to_dimensions(
    summary: Mapping[str, Any],
    predictions: Sequence[Prediction],
    name: str,
    entry_of: Callable[[str, Sequence[Prediction]], dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Add an entry to the dimensions that have predictions; return the entries by dimension."""
    entries: dict[str, dict[str, Any]] = {}
    for key, values in summary["dimensions"].items():
        on_dimension = [prediction for prediction in predictions if prediction.dimension == key]
        if on_dimension:
            values[name] = entries[key] = entry_of(key, on_dimension)
    return entries


def _mean_spread(
    entries: Mapping[str, Mapping[str, Any]], predictions: Sequence[Prediction]
) -> float | None:
    """The mean ``spread`` in score units; in ranges of the scales if these differ."""
    by = divisors(RaterSpread(), {p.dimension: p.scale[-1] - p.scale[0] for p in predictions})
    spreads = {key: entry["spread"] for key, entry in entries.items()}
    return mean_of_defined(
        spread / by[key] for key, spread in spreads.items() if spread is not None
    )


def _wording(key: str, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The entry ``wording`` of one dimension."""
    table = np.array([prediction.wordings for prediction in predictions], dtype=np.float64)
    return {
        "wordings": table.shape[1],
        "spread": deviation(table),
        "pearson": [_pearson(key, predictions, scores) for scores in table.T],
    }


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
            _pearson(key, predictions, column) for column in scores.mean(axis=1).T
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
    arrays = dimension_arrays(key, used, cluster_names(used))
    arrays = replace(arrays, predicted=scores[np.array(has_both)])
    return metric_values({"pearson": Pearson()}, arrays)[0]["pearson"]
