"""Drop: the difference of one judge's agreement between two test sets, such as synthetic and real recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.evaluation.bootstrap import LEAST_CLUSTERS, bootstrap_draws, has_few_clusters
from dramaeval.evaluation.comparison import (
    COMPARED,
    Difference,
    macro_differences,
    metric_differences,
)
from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, dimension_arrays
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.units import span


def drops(
    by_split: Mapping[str, Sequence[Prediction]], dimensions: Sequence[str], **settings: Any
) -> dict[str, dict[str, Any]]:
    """Compare each test set with the first one (`drop`).

    Args:
        by_split: the judge's predictions by test set, in order.
        dimensions: keys of the dimensions.
        settings: the other arguments of `drop`.

    Returns:
        for each test set but the first, the result of `drop`, with ``from``: the name of the first test set.
    """
    first, *others = by_split
    return {
        split: {"from": first, **drop(by_split[split], by_split[first], dimensions, **settings)}
        for split in others
    }


def drop(
    a: Sequence[Prediction],
    b: Sequence[Prediction],
    dimensions: Sequence[str],
    *,
    seed: int,
    draws: int = 2_000,
    level: float = 0.95,
) -> dict[str, Any]:
    """Subtract the agreement on test set ``b`` from the agreement on ``a``: negative if a correlation falls.

    The records differ, so that there are no pairs and no permutation test. The bootstrap draws clusters of both sets
    together (Efron & Tibshirani 1993): a cluster that is in both sets, such as a character, is drawn for both.

    Args:
        a: the judge's predictions on one test set.
        b: the judge's predictions on the other test set.
        dimensions: keys of the dimensions.
        seed: seed of the bootstrap.
        draws: number of bootstrap draws; 0 for no intervals.
        level: confidence level of the percentile intervals.

    Returns:
        ``macro`` (over the dimensions in which a metric is defined on both sets) and ``dimensions.<key>``: by metric
        `a`, `b`, `difference` and `interval`, or None with a reason under ``undefined``; ``bootstrap``.
    """
    clusters = cluster_names(p for p in (*a, *b) if p.scored and p.mean_rating is not None)
    differences: dict[str, dict[str, Difference]] = {}
    undefined: dict[str, dict[str, str]] = {}
    arrays = {
        key: [
            dimension_arrays(key, [p for p in side if p.dimension == key], clusters)
            for side in (a, b)
        ]
        for key in dimensions
    }
    enough = all(_clusters(arrays, side) >= LEAST_CLUSTERS for side in (0, 1))
    drawn = bootstrap_draws(len(clusters), draws, seed) if draws and enough else None
    for key, (of_a, of_b) in arrays.items():
        differences[key], undefined[key] = metric_differences(COMPARED, of_a, of_b, drawn)
    spans = {key: span(of_a.scale) or span(of_b.scale) for key, (of_a, of_b) in arrays.items()}
    macro = macro_differences(differences, COMPARED, spans, level)
    few = {key: any(has_few_clusters(of.cluster) for of in both) for key, both in arrays.items()}
    return {
        "macro": {name: _without_p(entry) for name, entry in macro.items()},
        "dimensions": {
            key: {
                **{
                    name: _without_p((metric.untested() if few[key] else metric).as_dict(level))
                    for name, metric in by_metric.items()
                },
                "undefined": undefined[key],
            }
            for key, by_metric in differences.items()
        },
        "bootstrap": {
            "draws": draws if drawn else 0,
            "level": level,
            "clusters": len(clusters),
            "seed": seed,
        },
    }


def _clusters(arrays: Mapping[str, Sequence[DimensionArrays]], side: int) -> int:
    """The number of clusters of one test set."""
    return len({cluster for both in arrays.values() for cluster in both[side].cluster.tolist()})


def _without_p(entry: dict[str, Any] | None) -> dict[str, Any] | None:
    """The entry without the p value, which needs paired records."""
    return entry and {key: value for key, value in entry.items() if key != "p"}
