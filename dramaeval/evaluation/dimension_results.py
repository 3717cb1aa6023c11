"""The numbers of one dimension, as they stand in `metrics.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import BootstrapDraws, interval
from dramaeval.evaluation.dimension_arrays import (
    DimensionArrays,
    clusters_of,
    dimension_arrays,
    rating_matrix,
)
from dramaeval.evaluation.human_agreement import alternative_annotator, ceiling_of
from dramaeval.evaluation.metrics.leave_one_rater_out import pearson_ceiling_over_draws
from dramaeval.evaluation.metrics.metric import (
    Metric,
    NotApplicableError,
    UndefinedError,
    all_over_draws,
    value_of,
)
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.evaluation.systems import system_level

LEAST_CLUSTERS = 5
"""Fewer clusters than this cannot stand for others: no interval is given."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is computed for every dimension.

    `draws` is None when no intervals are wanted, or the data have under `LEAST_CLUSTERS` clusters.
    """

    metrics: Mapping[str, Metric]
    clusters: dict[tuple[str, str], int]
    draws: BootstrapDraws | None
    level: float
    ceiling: bool
    epsilon: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class DimensionResult:
    """`values` are plain and ready for JSON; `draws` keeps each metric's values for the macro."""

    values: dict[str, Any]
    draws: dict[str, np.ndarray] = field(default_factory=dict)


def dimension_result(key: str, predictions: Sequence[Prediction], plan: Plan) -> DimensionResult:
    """Evaluate the predictions of one dimension (none at all is a dimension of undefined values).

    Raises ValueError when they do not share a scale.
    """
    answers = dimension_arrays(key, predictions, plan.clusters)
    values, undefined = metric_values(plan.metrics, answers)
    kept = metric_draws(plan.metrics, values, answers, plan.draws)
    result: dict[str, Any] = {
        **values,
        **counts_of(predictions, answers),
        "undefined": undefined,
        **intervals_of(values, kept, answers, plan),
    }
    if plan.ceiling:
        rated = [p for p in predictions if p.mean_rating is not None]
        ratings = rating_matrix(rated)
        result["ceiling"] = ceiling_of(ratings)
        if plan.draws is not None and result["ceiling"]["pearson"] is not None:
            cluster = clusters_of(rated, plan.clusters)
            kept["ceiling"] = pearson_ceiling_over_draws(ratings, cluster, plan.draws)
            found = interval(kept["ceiling"], plan.level)
            result["ceiling"]["interval"] = {"pearson": None if found is None else list(found)}
        result["alternative_annotator"] = alternative_annotator(answers, plan.epsilon)
    systems = system_level(predictions, answers, seed=plan.seed)
    if systems is not None:
        result["system_level"] = systems
    return DimensionResult(values=result, draws=kept)


def metric_values(
    metrics: Mapping[str, Metric], answers: DimensionArrays
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Each metric that applies to this scale, None where undefined; and the reasons why."""
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            values[name] = value_of(metric, answers)
        except NotApplicableError:
            continue
        except UndefinedError as error:
            values[name] = None
            reasons[name] = str(error)
    return values, reasons


def metric_draws(
    metrics: Mapping[str, Metric],
    values: Mapping[str, float | None],
    answers: DimensionArrays,
    draws: BootstrapDraws | None,
) -> dict[str, np.ndarray]:
    """The values in every draw of each metric that is defined and not too much work."""
    if draws is None:
        return {}
    defined = [name for name, value in values.items() if value is not None]
    drawn = all_over_draws([(metrics[name], answers) for name in defined], draws)
    return {name: one for name, one in zip(defined, drawn, strict=True) if one is not None}


def intervals_of(
    values: Mapping[str, float | None],
    kept: Mapping[str, np.ndarray],
    answers: DimensionArrays,
    plan: Plan,
) -> dict[str, Any]:
    """`interval` of each defined metric, null where there is none, and `interval_undefined` why."""
    clusters = len(np.unique(answers.cluster))
    intervals: dict[str, list[float] | None] = {}
    reasons: dict[str, str] = {}
    for name, value in values.items():
        if plan.draws is None or value is None:
            continue
        found = interval(kept[name], plan.level) if name in kept else None
        if clusters < LEAST_CLUSTERS:
            found, reasons[name] = None, f"only {clusters} clusters"
        elif name not in kept:
            reasons[name] = f"too much work for {answers.n:,} records"
        elif found is None:
            lost = int(np.isnan(kept[name]).sum())
            reasons[name] = f"undefined in {lost:,} of {len(kept[name]):,} draws"
        intervals[name] = None if found is None else list(found)
    return {"clusters": clusters, "interval": intervals, "interval_undefined": reasons}


def counts_of(predictions: Sequence[Prediction], answers: DimensionArrays) -> dict[str, Any]:
    """What stands behind the numbers, and what is missing from them.

    `n` records are both scored and rated; `unscored` and `missing` (no rating at all) may overlap.
    """
    states = Counter(p.state for p in predictions)
    unscored = Counter({state: count for state, count in states.items() if state != SCORED})
    places = sum(map(len, (p.ratings for p in predictions)))
    missing = sum(p.ratings.count(None) for p in predictions)
    counts: dict[str, Any] = {
        "n": answers.n,
        "records": len(predictions),
        "unscored": sum(unscored.values()),
        "unscored_reasons": dict(unscored.most_common()),
        "missing": [p.mean_rating for p in predictions].count(None),
        "ratings": places - missing,
        "ratings_missing": missing,
    }
    if answers.pass_fail:
        counts["majority_ties"] = int(np.isnan(answers.majority).sum())
    return counts
