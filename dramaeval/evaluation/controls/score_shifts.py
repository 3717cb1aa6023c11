"""How much a judge's scores change when its input changes: for the controls invariance and text_bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import draws_for_intervals, interval
from dramaeval.evaluation.controls.control_context import ControlContext
from dramaeval.evaluation.dimension_arrays import cluster_names, clusters_of
from dramaeval.evaluation.predictions import Prediction


def shifts(
    context: ControlContext,
    before: Sequence[Prediction],
    changed: Mapping[str, Sequence[Prediction]],
    expected: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Measure the differences between the scores under each change and the scores without it.

    Args:
        context: the input of the control.
        before: predictions for the unchanged input.
        changed: by name of the change, predictions for the same questions in the same order.
        expected: by name of the change, the dimensions whose scores it may rightly change.

    Returns:
        for each change, by dimension: ``shift``, the mean of changed − unchanged in score units; its ``interval`` from
        a bootstrap of groups; ``spread``, the standard deviation of the differences; ``rank_correlation``, Spearman's
        correlation between changed and unchanged scores; ``n``; ``expected``. Undefined values are null.
    """
    expected = expected or {}
    dimensions = list(dict.fromkeys(prediction.dimension for prediction in before))
    return {
        name: {
            key: {
                **_shift(
                    context,
                    [
                        (a, b)
                        for a, b in zip(before, predictions, strict=True)
                        if a.dimension == key and a.scored and b.scored
                    ],
                ),
                "expected": key in expected.get(name, ()),
            }
            for key in dimensions
        }
        for name, predictions in changed.items()
    }


def _shift(
    context: ControlContext, pairs: Sequence[tuple[Prediction, Prediction]]
) -> dict[str, Any]:
    if not pairs:
        return dict.fromkeys(("shift", "interval", "spread", "rank_correlation")) | {"n": 0}
    before = np.array([a.expected for a, _ in pairs], dtype=float)
    after = np.array([b.expected for _, b in pairs], dtype=float)
    difference = after - before
    correlation = None
    if len(pairs) > 1 and np.ptp(before) > 0 and np.ptp(after) > 0:
        correlation = float(scipy.stats.spearmanr(before, after).statistic)
    unchanged = [a for a, _ in pairs]
    clusters = cluster_names(unchanged)
    draws = draws_for_intervals(len(clusters), context.draws, context.seed)
    means = None if draws is None else draws.means(clusters_of(unchanged, clusters), difference)
    return {
        "shift": float(difference.mean()),
        "interval": interval(means, context.level),
        "spread": float(difference.std(ddof=1)) if len(pairs) > 1 else None,
        "rank_correlation": correlation,
        "n": len(pairs),
    }
