"""The results of one dimension in `metrics.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import (
    LEAST_CLUSTERS,
    BootstrapDraws,
    has_few_clusters,
    interval,
)
from dramaeval.evaluation.dimension_arrays import (
    DimensionArrays,
    by_rater,
    clusters_of,
    dimension_arrays,
    raters_known,
    rating_matrix,
    why_unknown,
)
from dramaeval.evaluation.human_agreement import alternative_annotator, ceiling_of
from dramaeval.evaluation.metrics.leave_one_rater_out import pearson_ceiling_over_draws
from dramaeval.evaluation.metrics.metric import Metric, all_over_draws, metric_values
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.evaluation.systems import system_level
from dramaeval.evaluation.units import span


@dataclass(frozen=True, kw_only=True)
class SummarySettings:
    """The settings of a summary, the same for every dimension.

    `draws` is None if no intervals are requested or the data have fewer than `LEAST_CLUSTERS` clusters.
    """

    metrics: Mapping[str, Metric]
    clusters: dict[tuple[str, str], int]
    draws: BootstrapDraws | None
    level: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class DimensionResult:
    """`values` for JSON, `draws` with each metric's values in every draw (draws,), and `span`, the range of the scale."""

    values: dict[str, Any]
    span: float
    draws: dict[str, np.ndarray]


def dimension_result(
    key: str, predictions: Sequence[Prediction], settings: SummarySettings
) -> DimensionResult:
    """Evaluate the predictions of one dimension; without predictions all values are undefined.

    Raises ValueError if the predictions do not share a scale.
    """
    arrays = dimension_arrays(key, predictions, settings.clusters)
    values, undefined = metric_values(settings.metrics, arrays)
    draws: dict[str, np.ndarray] = {}
    if settings.draws is not None:
        defined = [name for name, value in values.items() if value is not None]
        pairs = [(settings.metrics[name], arrays) for name in defined]
        by_metric = zip(defined, all_over_draws(pairs, settings.draws), strict=True)
        draws = {name: in_draws for name, in_draws in by_metric if in_draws is not None}
    result: dict[str, Any] = {
        **values,
        **_counts(predictions, arrays),
        "undefined": undefined,
        **_intervals(values, draws, arrays, settings),
    }
    rated = [p for p in predictions if p.mean_rating is not None]
    ratings, known, reason = rating_matrix(rated), raters_known(rated), why_unknown(rated)
    result["ceiling"] = ceiling_of(ratings, known, reason)
    if settings.draws is not None and result["ceiling"]["pearson"] is not None:
        cluster = clusters_of(rated, settings.clusters)
        by_raters = by_rater(ratings, known)
        draws["ceiling"] = pearson_ceiling_over_draws(by_raters, cluster, settings.draws)
        bounds = None if has_few_clusters(cluster) else interval(draws["ceiling"], settings.level)
        result["ceiling"]["interval"] = {"pearson": bounds}
    result["alternative_annotator"] = alternative_annotator(arrays, reason)
    systems = system_level(predictions, arrays, seed=settings.seed)
    if systems is not None:
        result["system_level"] = systems
    return DimensionResult(values=result, span=span(arrays.scale), draws=draws)


def _intervals(
    values: Mapping[str, float | None],
    draws: Mapping[str, np.ndarray],
    arrays: DimensionArrays,
    settings: SummarySettings,
) -> dict[str, Any]:
    """The `interval` of each defined metric, or None with the reason in `interval_undefined`."""
    clusters = len(np.unique(arrays.cluster))
    intervals: dict[str, list[float] | None] = {}
    reasons: dict[str, str] = {}
    for name, value in values.items():
        if settings.draws is None or value is None:
            continue
        bounds = interval(draws[name], settings.level) if name in draws else None
        if clusters < LEAST_CLUSTERS:
            bounds, reasons[name] = None, f"only {clusters} clusters"
        elif name not in draws:
            reasons[name] = f"not computed for as many as {arrays.n:,} records"
        elif bounds is None:
            lost = int(np.isnan(draws[name]).sum())
            reasons[name] = f"undefined in {lost:,} of {len(draws[name]):,} draws"
        intervals[name] = bounds
    return {"clusters": clusters, "interval": intervals, "interval_undefined": reasons}


def _counts(predictions: Sequence[Prediction], arrays: DimensionArrays) -> dict[str, Any]:
    """Count the records and ratings, and the missing ones.

    `n` records are both scored and rated. A record can be both `unscored` and `missing` (without any rating).
    `mean_only` records have only a mean rating; the number of ratings stated with it counts in `ratings`.
    """
    unscored = Counter(p.state for p in predictions if p.state != SCORED)
    means = [p for p in predictions if p.raters.mean_only and p.mean_rating is not None]
    listed = [p for p in predictions if not p.raters.mean_only]
    missing = sum(p.ratings.count(None) for p in listed)
    ratings = sum(len(p.ratings) for p in listed) + sum(p.raters.count or 0 for p in means)
    counts: dict[str, Any] = {
        "n": arrays.n,
        "records": len(predictions),
        "unscored": sum(unscored.values()),
        "unscored_reasons": dict(unscored.most_common()),
        "missing": sum(p.mean_rating is None for p in predictions),
        "ratings": ratings - missing,
        "ratings_missing": missing,
        "mean_only": len(means),
    }
    if arrays.pass_fail:
        counts["majority_ties"] = int(np.isnan(arrays.majority).sum())
    return counts
