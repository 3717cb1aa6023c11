"""The summary of a judge of pairs: every dimension, the mean over dimensions, and slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import (
    LEAST_CLUSTERS,
    BootstrapDraws,
    draws_for_intervals,
    has_few_clusters,
    interval,
    mean_over_draws,
)
from dramaeval.evaluation.metrics.metric import UndefinedError, mean_of_defined
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_arrays import PairArrays, pair_arrays, pair_clusters
from dramaeval.evaluation.pairs.pair_metrics import (
    PAIR_METRICS,
    PairMetric,
    pair_calibration_curve,
    pair_value,
    pair_values_over_draws,
)
from dramaeval.evaluation.pairs.rater_ceiling import NO_SECOND_RATER, ceiling_summands
from dramaeval.evaluation.predictions import by_dimension_of
from dramaeval.evaluation.slices import NOT_STATED

SLICED: Mapping[str, PairMetric] = {
    name: PAIR_METRICS[name] for name in ("accuracy", "accuracy_untied", "auroc")
}
"""The metrics of a slice."""

STRENGTHS = ("tie", "up to 0.5", "above 0.5")
"""Slices by the absolute value of the mean vote: 0, up to ½, above ½."""


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Values of metrics by name (None if undefined), the reasons of undefined ones, and the values in every draw."""

    values: dict[str, float | None]
    undefined: dict[str, str]
    draws: dict[str, np.ndarray]


def summarise_pairs(
    predictions: Iterable[PairPrediction],
    dimensions: Sequence[str],
    *,
    seed: int,
    draws: int = 2_000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Measure a judge's agreement with the raters' votes: the part `pairs.<split>.<phase>` of metrics.json.

    Args:
        predictions: the predictions of one judge on one split; each pair × dimension occurs once.
        dimensions: keys in the order of the rubric. Values of a dimension without predictions are undefined.
        seed: seed of the bootstrap.
        draws: bootstrap draws of prompts; 0 for no intervals.
        level: confidence level of the percentile intervals.

    Returns:
        `dimensions` (by key: the metrics of `PAIR_METRICS`, `interval`, `undefined`, `ceiling`, `calibration` and
        numbers of pairs), `macro` (each metric's mean over the dimensions in which it is defined), `slices` (by name
        and value) and `bootstrap`. All values are ready for JSON; undefined ones are None.

    Raises:
        ValueError: a pair is predicted twice on a dimension, or on a dimension that is not listed.
    """
    by_dimension = by_dimension_of(predictions, dimensions)
    clusters = pair_clusters(p for listed in by_dimension.values() for p in listed)
    sampled = draws_for_intervals(len(clusters), draws, seed)
    arrays = {key: pair_arrays(listed, clusters) for key, listed in by_dimension.items()}
    measured = {key: _measured(PAIR_METRICS, table, sampled) for key, table in arrays.items()}
    ceilings = {key: _ceiling(table, sampled) for key, table in arrays.items()}
    few = f"{len(clusters)} prompts are too few for intervals; {LEAST_CLUSTERS} are needed"
    return {
        "macro": {
            **_macro(measured, level),
            "ceiling": _macro(ceilings, level),
            **_counted(arrays.values()),
        },
        "dimensions": {
            key: {
                **_values(measured[key], level),
                "ceiling": _values(ceilings[key], level),
                "calibration": [bin_._asdict() for bin_ in pair_calibration_curve(arrays[key])],
                **_counted([arrays[key]]),
            }
            for key in by_dimension
        },
        "slices": {
            "margin": _slices(arrays.values(), _strength, STRENGTHS, sampled, level),
            "language": _slices(arrays.values(), _language, _languages(arrays), sampled, level),
        },
        "bootstrap": {
            "draws": draws if sampled else 0,
            "level": level,
            "clusters": len(clusters),
            "seed": seed,
            "undefined": few if draws and sampled is None else None,
        },
    }


def _measured(
    metrics: Mapping[str, PairMetric], arrays: PairArrays, draws: BootstrapDraws | None
) -> _Measured:
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            values[name] = pair_value(metric, arrays)
        except UndefinedError as error:
            values[name], undefined[name] = None, str(error) if len(arrays) else "no pair"
    defined = {name: metric for name, metric in metrics.items() if values[name] is not None}
    if draws is None or has_few_clusters(arrays.cluster):
        return _Measured(values=values, undefined=undefined, draws={})
    in_draws = pair_values_over_draws(defined, arrays, draws)
    return _Measured(values=values, undefined=undefined, draws=in_draws)


def _ceiling(arrays: PairArrays, draws: BootstrapDraws | None) -> _Measured:
    """Measure the agreement between raters (see `rater_ceiling`)."""
    parts = ceiling_summands(arrays)
    values = {name: part.whole for name, part in parts.items()}
    defined = {name: part for name, part in parts.items() if not np.isnan(values[name])}
    sampled = None if has_few_clusters(arrays.cluster) else draws
    in_draws = [] if sampled is None else sampled.values(list(defined.values()))
    return _Measured(
        values={name: value if name in defined else None for name, value in values.items()},
        undefined={name: NO_SECOND_RATER for name in parts if name not in defined},
        draws=dict(zip(defined, in_draws, strict=False)),
    )


def _values(measured: _Measured, level: float) -> dict[str, Any]:
    """The entry of `metrics.json`: the values, `interval` by name, and the reasons in `undefined`."""
    bounds = {name: interval(values, level) for name, values in measured.draws.items()}
    return {**measured.values, "interval": bounds, "undefined": measured.undefined}


def _macro(measured: Mapping[str, _Measured], level: float) -> dict[str, Any]:
    """The unweighted mean over the dimensions in which a metric is defined; all dimensions share the draws."""
    names = list(dict.fromkeys(name for part in measured.values() for name in part.values))
    intervals: dict[str, list[float] | None] = {}
    defined: dict[str, int] = {}
    macro: dict[str, Any] = {}
    for name in names:
        used = [part for part in measured.values() if part.values[name] is not None]
        macro[name] = mean_of_defined(part.values[name] for part in used)
        defined[name] = len(used)
        drawn = [part.draws.get(name) for part in used]
        if any(values is not None for values in drawn):
            intervals[name] = interval(mean_over_draws(drawn), level)
    undefined = {key: dict(part.undefined) for key, part in measured.items() if part.undefined}
    return {
        **macro,
        "interval": intervals,
        "dimensions_defined": defined,
        "dimensions_undefined": undefined,
    }


def _counted(arrays: Iterable[PairArrays]) -> dict[str, Any]:
    """Count pairs, votes and ties, summed over dimensions."""
    tables = list(arrays)

    def total(count: Callable[[PairArrays], Any]) -> int:
        return sum(int(count(table)) for table in tables)

    return {
        "pairs": total(len),
        "voted": total(lambda table: (~np.isnan(table.verdict)).sum()),
        "votes": total(lambda table: (~np.isnan(table.signs)).sum()),
        "unanimous": total(lambda table: table.unanimous.sum()),
        "raters_tie": total(lambda table: (table.verdict == 0).sum()),
        "judge_ties": total(lambda table: (table.judged == 0).sum()),
    }


def _strength(arrays: PairArrays) -> np.ndarray:
    """The slice of each pair by the strength of the raters' preference, ``(n,)``; an empty text without a vote."""
    tie, weak, strong = STRENGTHS
    strength = arrays.strength
    names = np.where(strength == 0, tie, np.where(strength <= 0.5, weak, strong))
    return np.where(np.isnan(strength), "", names)


def _language(arrays: PairArrays) -> np.ndarray:
    return np.array([name or NOT_STATED for name in arrays.language], dtype=object)


def _languages(arrays: Mapping[str, PairArrays]) -> list[str]:
    """The languages in alphabetical order, then `NOT_STATED` for pairs without one; empty if no pair states one."""
    names = {name for table in arrays.values() for name in table.language}
    stated = sorted(name for name in names if name)
    return [*stated, NOT_STATED] if stated and None in names else stated


def _slices(
    arrays: Iterable[PairArrays],
    labels: Callable[[PairArrays], np.ndarray],
    values: Sequence[str],
    draws: BootstrapDraws | None,
    level: float,
) -> dict[str, Any]:
    """The macro of `SLICED` on each slice that has pairs, with the draws of the whole data."""
    slices: dict[str, Any] = {}
    labelled = [(table, labels(table)) for table in arrays]
    for value in values:
        tables = [table.take(np.flatnonzero(label == value)) for table, label in labelled]
        tables = [table for table in tables if len(table)]
        if not tables:
            continue
        measured = {str(i): _measured(SLICED, table, draws) for i, table in enumerate(tables)}
        macro = _macro(measured, level)
        del macro["dimensions_undefined"]
        slices[value] = {
            **macro,
            **_counted(tables),
            "prompts": len(set().union(*(table.cluster.tolist() for table in tables))),
        }
    return slices
