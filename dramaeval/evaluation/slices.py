"""Slices: agreement of a judge with people on parts of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of
from dramaeval.evaluation.bootstrap import draws_for_intervals, interval, mean_over_draws
from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.metric import (
    Metric,
    all_over_draws,
    mean_of_defined,
    metric_name,
    metric_values,
)
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.score_errors import Bias, MeanSquaredError
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.units import divided, divisors, span

METRICS: dict[str, Metric] = {
    metric_name(metric): metric for metric in (Pearson(), MeanSquaredError(), Bias())
}
MOST_VALUES = 40
"""Maximum number of slices in one division: more slices would be too small."""

NOT_STATED = "not said"

Divide = Callable[[Sequence[Record], Sequence[Record]], list[str]]


class NoSliceError(Exception):
    """The data cannot be divided by this name; the message is the reason."""


def slices(
    predictions: Sequence[Prediction],
    records: Sequence[Record],
    train: Sequence[Record],
    names: Sequence[str],
    *,
    seed: int,
    draws: int,
    level: float,
) -> dict[str, Any]:
    """Compute the agreement on every slice.

    Args:
        predictions: the predictions of one judge on one split.
        records: the records of that split.
        train: the training records; empty if they were not read.
        names: names of divisions: ``character_seen``, ``length``, ``recorded``, or any key of the records.
        seed: seed of the bootstrap.
        draws: bootstrap draws of clusters; 0 for no intervals.
        level: confidence level of the intervals.

    Returns:
        by name either ``{"undefined": reason}`` or ``{"values": {value: {"records": …, "dimensions": …,
        "macro": {metric: value}, "interval": {metric: [low, high] or None}}}}``. A macro is the mean over the
        dimensions on which the metric is defined in the slice; ``dimensions`` counts these dimensions.
    """
    mixed = any(record.part is not None for record in records)
    results: dict[str, Any] = {}
    for name in names:
        try:
            values = DIVISIONS.get(name, _by_key(name))(records, train)
        except NoSliceError as error:
            results[name] = {"undefined": str(error)}
            continue
        value_of = {
            (record.part, record.id): value for record, value in zip(records, values, strict=True)
        }
        by_value: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            by_value.setdefault(value_of[_record_key(prediction, mixed)], []).append(prediction)
        results[name] = {
            "values": {
                value: {
                    "records": len({_record_key(each, mixed) for each in by_value[value]}),
                    **_slice(by_value[value], seed, draws, level),
                }
                for value in _in_order(name, values)
                if value in by_value
            }
        }
    return results


def _record_key(prediction: Prediction, mixed: bool) -> tuple[str | None, str]:
    """The task, None without a mixture, and the id of a prediction's record; ids may repeat between tasks."""
    return (prediction.dimension.partition("/")[0] if mixed else None, prediction.id)


def _in_order(name: str, values: Sequence[str]) -> list[str]:
    """The distinct values in alphabetical order with `NOT_STATED` last; lengths are in rising order."""
    if name == "length":
        rank = {"up": 0, "ov": 2}
        return sorted(set(values), key=lambda value: rank.get(value[:2], 1))
    return sorted(set(values), key=lambda value: (value == NOT_STATED, value))


def _slice(
    predictions: Sequence[Prediction], seed: int, draws: int, level: float
) -> dict[str, Any]:
    by_dimension: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        if prediction.scored and prediction.mean_rating is not None:
            by_dimension.setdefault(prediction.dimension, []).append(prediction)
    clusters = cluster_names(p for listed in by_dimension.values() for p in listed)
    tables = [dimension_arrays(key, listed, clusters) for key, listed in by_dimension.items()]
    spans = {arrays.dimension: span(arrays.scale) for arrays in tables}
    by = {name: divisors(metric, spans) for name, metric in METRICS.items()}
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    defined: list[tuple[str, DimensionArrays]] = []
    for arrays in tables:
        for name, value in metric_values(METRICS, arrays)[0].items():
            if value is not None:
                values[name].append(value / by[name][arrays.dimension])
                defined.append((name, arrays))
    in_draws: dict[str, list[np.ndarray | None]] = {name: [] for name in METRICS}
    drawn = draws_for_intervals(len(clusters), draws, seed)
    if drawn is not None:
        by_metric = all_over_draws([(METRICS[name], arrays) for name, arrays in defined], drawn)
        for (name, arrays), metric_draws in zip(defined, by_metric, strict=True):
            in_draws[name].append(divided(metric_draws, by[name][arrays.dimension]))
    return {
        "n": sum(map(len, by_dimension.values())),
        "unscored": sum(not prediction.scored for prediction in predictions),
        "clusters": len(clusters),
        "macro": {name: mean_of_defined(values[name]) for name in METRICS},
        "dimensions": {name: len(values[name]) for name in METRICS},
        "interval": {name: interval(mean_over_draws(in_draws[name]), level) for name in METRICS},
    }


def character_seen(records: Sequence[Record], train: Sequence[Record]) -> list[str]:
    """Divide by whether the character of a record occurs in the training split."""
    if not train:
        raise NoSliceError("the training split was not read, so its characters are not known")
    label = {group_of(record, "character"): "seen" for record in train} | {None: NOT_STATED}
    return [label.get(group_of(record, "character"), "unseen") for record in records]


def length(records: Sequence[Record], train: Sequence[Record]) -> list[str]:
    """Divide into thirds by the length of the clips."""
    seconds = np.array([record.seconds for record in records])
    if not (seconds > 0).any():
        raise NoSliceError("this judge takes no audio: the clips were not decoded")
    low, high = np.quantile(seconds, [1 / 3, 2 / 3])
    if low == high:
        raise NoSliceError("the clips all have about the same length")
    thirds = [f"up to {low:.1f} s", f"{low:.1f} to {high:.1f} s", f"over {high:.1f} s"]
    return [thirds[third] for third in np.searchsorted([low, high], seconds)]


def recorded(records: Sequence[Record], train: Sequence[Record]) -> list[str]:
    """Divide into recorded and synthetic speech, by the keys ``recorded`` or ``synthetic`` (true or false).

    Without these keys, the values "recorded" and "synthetic" of the keys ``source`` or ``origin`` count.
    """
    values = [_recorded(record.fields) for record in records]
    if set(values) == {NOT_STATED}:
        raise NoSliceError('no record has the key "recorded" or "synthetic" (true or false)')
    return values


def _recorded(fields: Mapping[str, Any]) -> str:
    for key, value_if_recorded in (("recorded", True), ("synthetic", False)):
        if isinstance(fields.get(key), bool):
            return "recorded" if fields[key] is value_if_recorded else "synthetic"
    for key in ("source", "origin"):
        if fields.get(key) in ("recorded", "synthetic"):
            return str(fields[key])
    return NOT_STATED


def _by_key(key: str) -> Divide:
    """Make a function that divides by the values of a key."""

    def divide(records: Sequence[Record], train: Sequence[Record]) -> list[str]:
        values = []
        for record in records:
            value = record.fields.get(key)
            plain = isinstance(value, str | int | float | bool)
            values.append(str(value) if plain and str(value).strip() else NOT_STATED)
        distinct = set(values)
        if distinct == {NOT_STATED}:
            raise NoSliceError(f'no record has the key "{key}"')
        if len(distinct) > MOST_VALUES:
            raise NoSliceError(
                f"{len(distinct)} different values are too many (the limit is {MOST_VALUES})"
            )
        return values

    return divide


DIVISIONS: dict[str, Divide] = {
    "character_seen": character_seen,
    "length": length,
    "recorded": recorded,
}
