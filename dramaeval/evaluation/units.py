"""Units of means over dimensions: if scales have different ranges, errors are divided by the range before the mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dramaeval.evaluation.metrics.metric import Metric

#: Name of the unit of such a mean.
RANGE = "range"


def span(scale: np.ndarray) -> float:
    """The range of a scale (K,), highest minus lowest score; 0 without scores."""
    return float(scale[-1] - scale[0]) if len(scale) else 0.0


def divisors(metric: Metric, spans: Mapping[str, float]) -> dict[str, float]:
    """The number by which the value of a metric is divided before the mean over dimensions, by dimension.

    Args:
        metric: its `score_power` is 1 for score units, 2 for squared score units, 0 (the default) for no unit.
        spans: the range of each dimension's scale; 0 for a dimension without predictions.

    Returns:
        range ** power; or 1 for all dimensions if the metric has no unit or all scales have the same range.
    """
    power = getattr(metric, "score_power", 0)
    if not power or len({value for value in spans.values() if value}) < 2:
        return dict.fromkeys(spans, 1.0)
    return {key: value**power if value else 1.0 for key, value in spans.items()}


def unit_text(macro: Mapping[str, Any]) -> str:
    """What follows a figure in score units of a macro: nothing, or the unit if the ranges of the scales differ."""
    return " of a scale's range" if macro.get("units") else ""


def divided(draws: np.ndarray | None, divisor: float) -> np.ndarray | None:
    """Divide the values in every draw; None without draws."""
    return None if draws is None else draws / divisor
