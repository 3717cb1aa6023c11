"""Slices: agreement of a judge with people on parts of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of
from dramaeval.evaluation.bootstrap import bootstrap_draws, interval, mean_over_draws
from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, dimension_arrays
from dramaeval.evaluation.dimension_results import LEAST_CLUSTERS
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
    results: dict[str, Any] = {}
    settings = _Bootstrap(seed=seed, draws=draws, level=level)
    table = _Table.from_predictions(predictions)
    for name in names:
        try:
            values = DIVISIONS.get(name, _by_key(name))(records, train)
        except NoSliceError as error:
            results[name] = {"undefined": str(error)}
            continue
        value_by_id = {record.id: value for record, value in zip(records, values, strict=True)}
        labels = np.array([value_by_id[prediction.id] for prediction in predictions])
        present = set(labels.tolist())
        results[name] = {
            "values": {
                value: _slice(table, np.flatnonzero(labels == value), settings)
                for value in _in_order(name, values)
                if value in present
            }
        }
    return results


@dataclass(frozen=True, kw_only=True)
class _Bootstrap:
    seed: int
    draws: int
    level: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Table:
    """All predictions as arrays of shape (predictions,), and the arrays of each dimension.

    Attributes:
        record: number of the record.
        scored: whether there is a score.
        used: whether there are both a score and a rating. The other attributes are valid only for used predictions.
        dimension: number of the dimension.
        row: row in the arrays of this dimension.
        cluster: number of the cluster in the order of names.
        arrays: the arrays of each dimension.
    """

    record: np.ndarray
    scored: np.ndarray
    used: np.ndarray
    dimension: np.ndarray
    row: np.ndarray
    cluster: np.ndarray
    arrays: Sequence[DimensionArrays]

    @classmethod
    def from_predictions(cls, predictions: Sequence[Prediction]) -> _Table:
        by_dimension: dict[str, list[int]] = {}
        for index, prediction in enumerate(predictions):
            if prediction.scored and prediction.mean_rating is not None:
                by_dimension.setdefault(prediction.dimension, []).append(index)
        clusters = cluster_names(
            predictions[i] for indices in by_dimension.values() for i in indices
        )
        used = np.zeros(len(predictions), dtype=bool)
        dimension, row, cluster = np.zeros((3, len(predictions)), dtype=np.intp)
        arrays = []
        for number, (key, indices) in enumerate(by_dimension.items()):
            arrays.append(dimension_arrays(key, [predictions[i] for i in indices], clusters))
            used[indices], dimension[indices] = True, number
            row[indices], cluster[indices] = np.arange(len(indices)), arrays[-1].cluster
        records: dict[str, int] = {}
        return cls(
            record=np.array(
                [records.setdefault(prediction.id, len(records)) for prediction in predictions]
            ),
            scored=np.array([prediction.scored for prediction in predictions], dtype=bool),
            used=used,
            dimension=dimension,
            row=row,
            cluster=cluster,
            arrays=arrays,
        )

    def of_rows(self, rows: np.ndarray) -> tuple[list[DimensionArrays], int]:
        """The used predictions among ``rows`` by dimension, in the order of occurrence, and their number of clusters."""
        rows = rows[self.used[rows]]
        present, cluster = np.unique(self.cluster[rows], return_inverse=True)
        dimensions, first = np.unique(self.dimension[rows], return_index=True)
        tables = []
        for number in dimensions[np.argsort(first)].tolist():
            on_dimension = self.dimension[rows] == number
            arrays = self.arrays[number].take(self.row[rows[on_dimension]])
            tables.append(replace(arrays, cluster=cluster[on_dimension]))
        return tables, len(present)


def _in_order(name: str, values: Sequence[str]) -> list[str]:
    """The distinct values in alphabetical order with `NOT_STATED` last; lengths are in rising order."""
    if name == "length":
        rank = {"up": 0, "ov": 2}
        return sorted(set(values), key=lambda value: rank.get(value[:2], 1))
    return sorted(set(values), key=lambda value: (value == NOT_STATED, value))


def _slice(table: _Table, rows: np.ndarray, settings: _Bootstrap) -> dict[str, Any]:
    tables, clusters = table.of_rows(rows)
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
    if clusters >= LEAST_CLUSTERS and settings.draws > 0:
        draws = bootstrap_draws(clusters, settings.draws, settings.seed)
        drawn = all_over_draws([(METRICS[name], arrays) for name, arrays in defined], draws)
        for (name, arrays), metric_draws in zip(defined, drawn, strict=True):
            in_draws[name].append(divided(metric_draws, by[name][arrays.dimension]))
    return {
        "records": len(np.unique(table.record[rows])),
        "n": int(table.used[rows].sum()),
        "unscored": int((~table.scored[rows]).sum()),
        "clusters": clusters,
        "macro": {name: mean_of_defined(values[name]) for name in METRICS},
        "dimensions": {name: len(values[name]) for name in METRICS},
        "interval": {
            name: interval(mean_over_draws(in_draws[name]), settings.level) for name in METRICS
        },
    }


def character_seen(records: Sequence[Record], train: Sequence[Record]) -> list[str]:
    """Divide by whether the character of a record occurs in the training split."""
    if not train:
        raise NoSliceError("the training split was not read, so its characters are not known")
    trained = {group_of(record, "character") for record in train}
    values = []
    for record in records:
        character = group_of(record, "character")
        values.append(
            NOT_STATED if character is None else "seen" if character in trained else "unseen"
        )
    return values


def length(records: Sequence[Record], train: Sequence[Record]) -> list[str]:
    """Divide into thirds by the length of the clips."""
    seconds = np.array([record.seconds for record in records])
    if not (seconds > 0).any():
        raise NoSliceError("this judge takes no audio: the clips were not decoded")
    low, high = np.quantile(seconds, [1 / 3, 2 / 3])
    if low == high:
        raise NoSliceError("the clips all have about the same length")
    return [
        f"up to {low:.1f} s"
        if duration <= low
        else f"{low:.1f} to {high:.1f} s"
        if duration <= high
        else f"over {high:.1f} s"
        for duration in seconds
    ]


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
