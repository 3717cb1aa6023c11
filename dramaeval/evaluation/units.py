"""Units of a mean over dimensions: errors on scales of different ranges are counted in ranges before they are averaged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dramaeval.evaluation.metrics.metric import Metric

#: The unit of a macro figure that is counted in ranges of the scales.
RANGE = "range"


def span(scale: np.ndarray) -> float:
    """The range of a scale (K,), highest minus lowest score; 0 without scores."""
    return float(scale[-1] - scale[0]) if len(scale) else 0.0


def divisors(metric: Metric, spans: Mapping[str, float]) -> dict[str, float]:
    """By dimension the number by which a metric's value is divided before the mean over dimensions.

    Args:
        metric: its `score_power` is 1 for a metric in score units, 2 in squared ones; 0, the default, has no unit.
        spans: the range of each dimension's scale; 0 where it has no predictions.

    Returns:
        range ** power, or 1 throughout where the metric has no unit or all scales have the same range.
    """
    power = getattr(metric, "score_power", 0)
    if not power or len({value for value in spans.values() if value}) < 2:
        return dict.fromkeys(spans, 1.0)
    return {key: value**power if value else 1.0 for key, value in spans.items()}


def divided(draws: np.ndarray | None, divisor: float) -> np.ndarray | None:
    """The values in every draw divided; None without draws."""
    return None if draws is None else draws / divisor
