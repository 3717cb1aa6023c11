"""Agreement by the conventions of the two scripts published with Speech-DRAME (arXiv 2511.01261).

Both scripts pool the pairs record × dimension of all dimensions into one correlation, and turn missing values into
scores. Use these figures only for comparison with published ones: pooling counts differences between the means of
dimensions as agreement, and a missing rating counts as a low rating.

- ``fine_tuning`` (``parse_result_folder.py``): null is dropped, "N/A" is the score 1. A pass/fail dimension is pooled
  too: its target is the majority of the raters, "N/A" counts as fail, and a tie is dropped.
- ``zero_shot`` (``score_avg.py``): null and "N/A" are the score 1. Pass/fail dimensions are not pooled.

An unscored question counts as the score that the script uses in this case: 3 in ``fine_tuning``, 1 in ``zero_shot``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy

from dramaeval.data.annotation_fields import written_values
from dramaeval.data.raters import is_missing
from dramaeval.data.records import Record
from dramaeval.evaluation.bootstrap import draws_for_intervals, interval
from dramaeval.evaluation.dimension_arrays import cluster_names, clusters_of
from dramaeval.evaluation.metrics.moments import correlation, of_moments
from dramaeval.evaluation.predictions import Prediction

#: The raters' values as written in the record, one for each rater, by record id and dimension.
RawValues = Mapping[tuple[str, str], Sequence[Any]]

PASS_FAIL = (0.0, 1.0)
#: The scales that the published scripts know.
SCALES = (PASS_FAIL, (1.0, 2.0, 3.0, 4.0, 5.0))
#: The score that replaces a missing rating.
LOWEST = 1.0
_LEAST_PAIRS = 3


def published_figures(
    predictions: Sequence[Prediction],
    raw: RawValues,
    scales: Mapping[str, Sequence[float]],
    *,
    seed: int,
    draws: int,
    level: float,
) -> dict[str, dict[str, Any]]:
    """Compute the pooled agreement by each published convention.

    Args:
        predictions: the predictions of one judge on one split.
        raw: the values as written, also of pairs that the judge was not asked about.
        scales: the scale of each dimension, one of `SCALES`.
        seed: seed of the bootstrap.
        draws: bootstrap draws of clusters (`Prediction.group`); 0 for no intervals.
        level: confidence level of the interval.

    Returns:
        ``fine_tuning`` and ``zero_shot``, each with ``pearson``, ``spearman``, ``mae`` and ``rmse`` over the pooled
        pairs (None without pairs; a correlation is None too with fewer than 3 pairs or constant values), the
        ``interval`` of ``pearson``, and numbers of pairs: ``n`` that are pooled, ``unscored_replaced`` of them, and
        ``not_asked``, which have a target but no prediction.
    """
    figures = {}
    for name, (target_of, unscored) in CONVENTIONS.items():
        targets = {
            key: target
            for key, values in raw.items()
            if (target := target_of(values, tuple(scales[key[1]]) == PASS_FAIL)) is not None
        }
        used = [p for p in predictions if (p.id, p.dimension) in targets]
        y = np.array([targets[p.id, p.dimension] for p in used], dtype=float)
        x = np.array([unscored if p.expected is None else p.expected for p in used])
        clusters = cluster_names(used)
        bounds = None
        drawn = draws_for_intervals(len(clusters), draws, seed)
        if drawn is not None:
            summands = of_moments(x, y, clusters_of(used, clusters), correlation)
            (pearson,) = drawn.values([summands])
            bounds = interval(pearson, level)
        figures[name] = {
            **_agreement(x, y),
            "interval": {"pearson": bounds},
            "n": len(used),
            "unscored_replaced": sum(not prediction.scored for prediction in used),
            "not_asked": len(targets) - len(used),
        }
    return figures


def written_by_raters(records: Iterable[Record], annotations: Mapping[str, str]) -> RawValues:
    """The raters' values as written in records, for `published_figures`; ``annotations`` names each dimension's field.

    A record without this field (a processed record) gives its ratings.
    """
    return {
        (record.id, dimension): written_values(record.fields, name) or record.ratings.get(name, ())
        for record in records
        for dimension, name in annotations.items()
    }


def unknown_scales(scales: Mapping[str, Sequence[float]]) -> list[str]:
    """The dimensions whose scale the published scripts do not know."""
    return [key for key, scale in scales.items() if tuple(map(float, scale)) not in SCALES]


def _fine_tuning(values: Sequence[Any], pass_fail: bool) -> float | None:
    written = [value for value in values if value is not None]
    if not pass_fail:
        return _mean([LOWEST if is_missing(value) else float(value) for value in written])
    votes = [0.0 if is_missing(value) else float(value) for value in written]
    passed = sum(votes)
    return None if passed * 2 == len(votes) else float(passed * 2 > len(votes))


def _zero_shot(values: Sequence[Any], pass_fail: bool) -> float | None:
    if pass_fail:
        return None
    return _mean([LOWEST if is_missing(value) else float(value) for value in values])


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


#: By name: a function from the raters' values, and whether the scale is pass/fail, to the target of a pair (None
#: drops the pair); and the score of an unscored question.
CONVENTIONS: Mapping[str, tuple[Callable[[Sequence[Any], bool], float | None], float]] = {
    "fine_tuning": (_fine_tuning, 3.0),
    "zero_shot": (_zero_shot, LOWEST),
}


def published_text(summary: Mapping[str, Any]) -> str | None:
    """Describe the pooled correlations of a summary in a sentence; None if they were not computed."""
    if "published" not in summary:
        return None
    parts = [
        f"{name.replace('_', '-')} scripts "
        f"{'undefined' if figures['pearson'] is None else format(figures['pearson'], '.3f')} "
        f"(n = {figures['n']:,})"
        for name, figures in summary["published"].items()
    ]
    return f"Counted as published, pooled Pearson: {', '.join(parts)}."


def _agreement(x: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """Correlations and errors of scores x and targets y, each (pairs,)."""
    figures: dict[str, float | None] = dict.fromkeys(("pearson", "spearman", "mae", "rmse"))
    if len(x):
        figures["mae"] = float(np.abs(x - y).mean())
        figures["rmse"] = float(np.sqrt(((x - y) ** 2).mean()))
    if len(x) >= _LEAST_PAIRS and np.ptp(x) and np.ptp(y):
        figures["pearson"] = float(scipy.stats.pearsonr(x, y).statistic)
        figures["spearman"] = float(scipy.stats.spearmanr(x, y).statistic)
    return figures
