"""The summary of one judge in `metrics.json`: every dimension, and the mean over dimensions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dramaeval.evaluation.bootstrap import (
    LEAST_CLUSTERS,
    draws_for_intervals,
    interval,
    mean_over_draws,
)
from dramaeval.evaluation.dimension_arrays import cluster_names
from dramaeval.evaluation.dimension_results import (
    DimensionResult,
    SummarySettings,
    dimension_result,
)
from dramaeval.evaluation.metrics.metric import Metric, mean_of_defined
from dramaeval.evaluation.metrics.standard import with_standard
from dramaeval.evaluation.predictions import Prediction, by_dimension_of
from dramaeval.evaluation.systems import MACRO_NAMES
from dramaeval.evaluation.units import RANGE, divided, divisors


def summarise(
    predictions: Iterable[Prediction],
    dimensions: Sequence[str],
    *,
    seed: int,
    draws: int = 2_000,
    level: float = 0.95,
    metrics: Sequence[Metric] = (),
) -> dict[str, Any]:
    """Measure a judge's agreement with people: the part `<split>.<phase>` of metrics.json.

    Args:
        predictions: the predictions of one judge on one split; each record × dimension occurs once.
        dimensions: keys in the order of the rubric. Values of a dimension without predictions are undefined.
        seed: seed of the bootstrap and the permutations.
        draws: bootstrap draws of clusters (`Prediction.group`); 0 for no intervals.
        level: confidence level of the percentile intervals.
        metrics: custom metrics, in addition to the standard ones (see `metrics/metric.py`).

    Returns:
        `macro` (each metric's mean over the dimensions on which it is defined, with counts), `dimensions`
        (by key) and `bootstrap`. All values are ready for JSON; undefined ones are None, with a reason.

    Raises:
        ValueError: a record is predicted twice on a dimension, on a dimension that is not listed, or on
            another scale than the other records; or two metrics have the same name.
    """
    by_dimension = by_dimension_of(predictions, dimensions)
    # Records without a rating are not resampled.
    clusters = cluster_names(
        p for listed in by_dimension.values() for p in listed if p.mean_rating is not None
    )
    drawn = draws_for_intervals(len(clusters), draws, seed)
    few = f"{len(clusters)} clusters are too few for intervals; {LEAST_CLUSTERS} are needed"
    settings = SummarySettings(
        metrics=with_standard(metrics),
        clusters=clusters,
        draws=drawn,
        level=level,
        seed=seed,
    )
    # Several dimensions at a time: numpy computes in parallel threads.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        computed = pool.map(
            lambda key: dimension_result(key, by_dimension[key], settings), by_dimension
        )
        results = dict(zip(by_dimension, computed, strict=True))
    return {
        "macro": _macro(results, settings),
        "dimensions": {key: result.values for key, result in results.items()},
        "bootstrap": {
            "draws": draws if drawn else 0,
            "level": level,
            "clusters": len(clusters),
            "seed": seed,
            "undefined": few if draws and drawn is None else None,
        },
    }


def _macro(results: Mapping[str, DimensionResult], settings: SummarySettings) -> dict[str, Any]:
    """The unweighted means over dimensions of each metric and of the agreement between raters.

    ``units`` names the metrics that are counted in ranges of the scales, because the ranges differ (`divisors`).
    """
    spans, units = {key: result.span for key, result in results.items()}, {}
    macro: dict[str, Any] = {}
    defined: dict[str, int] = {}
    undefined: dict[str, dict[str, str]] = {}
    intervals: dict[str, list[float] | None] = {}
    for name, metric in settings.metrics.items():
        if not any(name in result.values for result in results.values()):
            continue  # the metric applies to none of these scales
        used = {key: r for key, r in results.items() if r.values.get(name) is not None}
        by = divisors(metric, spans)
        if used and len(set(by.values())) > 1:
            units[name] = RANGE
        macro[name] = mean_of_defined(r.values[name] / by[key] for key, r in used.items())
        defined[name] = len(used)
        if len(used) < len(results):
            undefined[name] = {
                key: result.values["undefined"].get(name, "does not apply to this scale")
                for key, result in results.items()
                if key not in used
            }
        if settings.draws is not None and used:
            drawn = [divided(r.draws.get(name), by[key]) for key, r in used.items()]
            intervals[name] = interval(mean_over_draws(drawn), settings.level)
    macro["dimensions"] = len(results)
    macro["dimensions_defined"] = defined
    macro["dimensions_undefined"] = undefined
    for count in ("n", "records", "unscored", "missing"):
        macro[count] = sum(result.values[count] for result in results.values())
    macro["interval"] = intervals
    if units:
        macro["units"] = units
    macro["ceiling"] = _macro_ceiling(results, settings)
    macro["alternative_annotator"] = _macro_alternative(results)
    systems = [r.values["system_level"] for r in results.values() if "system_level" in r.values]
    if systems:
        macro["system_level"] = {
            **{name: mean_of_defined(system[name] for system in systems) for name in MACRO_NAMES},
            "dimensions": len(systems),
        }
    return macro


def _macro_ceiling(
    results: Mapping[str, DimensionResult], settings: SummarySettings
) -> dict[str, Any]:
    ceilings = {key: result.values["ceiling"] for key, result in results.items()}
    names = ("pearson", "spearman", "krippendorff_alpha")
    macro: dict[str, Any] = {
        name: mean_of_defined(ceiling[name] for ceiling in ceilings.values()) for name in names
    }
    macro["dimensions_defined"] = {
        name: sum(ceiling[name] is not None for ceiling in ceilings.values()) for name in names
    }
    macro["undefined"] = {
        key: ceiling["undefined"]["pearson"]
        for key, ceiling in ceilings.items()
        if ceiling["pearson"] is None
    }
    if settings.draws is not None and macro["pearson"] is not None:
        drawn = [r.draws["ceiling"] for r in results.values() if "ceiling" in r.draws]
        macro["interval"] = {"pearson": interval(mean_over_draws(drawn), settings.level)}
    return macro


def _macro_alternative(results: Mapping[str, DimensionResult]) -> dict[str, Any]:
    tests = [result.values["alternative_annotator"] for result in results.values()]
    return {
        "winning_rate": mean_of_defined(test["winning_rate"] for test in tests),
        "advantage_probability": mean_of_defined(test["advantage_probability"] for test in tests),
        "dimensions_tested": sum(test["passed"] is not None for test in tests),
        "dimensions_passed": sum(test["passed"] is True for test in tests),
    }
