"""Difference between two judges: paired bootstrap and permutation test."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import (
    BootstrapDraws,
    draws_for_intervals,
    has_few_clusters,
    interval,
    mean_over_draws,
)
from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.metric import (
    Exchange,
    Metric,
    UndefinedError,
    all_over_draws,
    metric_name,
    value_of,
)
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.rank_correlations import Spearman
from dramaeval.evaluation.metrics.score_errors import MeanSquaredError
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.units import RANGE, divided, divisors, span

COMPARED: tuple[Metric, ...] = (Pearson(), Spearman(), MeanSquaredError())


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of two judges on the same records: the values, and the draws of the tests.

    `resampled` (draws,) has the differences a − b in the bootstrap; `exchanged` (draws,) has the
    differences after random exchanges of scores between the judges. None without draws.
    """

    a: float
    b: float
    resampled: np.ndarray | None
    exchanged: np.ndarray | None

    def over(self, divisor: float) -> Difference:
        """Divide all values by a number."""
        return Difference(
            a=self.a / divisor,
            b=self.b / divisor,
            resampled=divided(self.resampled, divisor),
            exchanged=divided(self.exchanged, divisor),
        )

    def untested(self) -> Difference:
        """The values without draws."""
        return replace(self, resampled=None, exchanged=None)

    def as_dict(self, level: float) -> dict[str, Any]:
        """Plain values: `a`, `b`, `difference`, `interval` of the bootstrap, `p` of the test."""
        difference = self.a - self.b
        return {
            "a": self.a,
            "b": self.b,
            "difference": difference,
            "interval": interval(self.resampled, level),
            "p": permutation_p(difference, self.exchanged),
        }


def compare(
    a: Iterable[Prediction],
    b: Iterable[Prediction],
    dimensions: Sequence[str],
    *,
    seed: int,
    draws: int = 2_000,
    level: float = 0.95,
    metrics: Sequence[Metric] = COMPARED,
) -> dict[str, Any]:
    """Compare two judges on the records that both scored: the difference a − b of each metric.

    The bootstrap draws clusters, the same for both judges and all dimensions (paired). The
    permutation test exchanges the two judges' scores of a cluster, in all dimensions at once;
    its two-sided p is (1 + #{|d*| ≥ |d|}) / (1 + draws). Scores are first converted to the form that
    the metric depends on (`Exchange`; Deutsch, Dror & Roth 2021, arXiv 2104.00054, PERM-BOTH
    on standardised scores). `p_adjusted` is p adjusted over the dimensions (Benjamini & Yekutieli).

    Returns:
        `macro` and `dimensions.<key>`, each with one entry per metric (see `Difference.as_dict`), or
        None with a reason under `undefined`; `interval` and `p` of a dimension with fewer than `LEAST_CLUSTERS`
        clusters are None; `records`, their number; `left_out`, the numbers of
        predictions that are not compared, by reason; `bootstrap`.

    Raises:
        ValueError: ratings, scale or group of a record differ between the judges.
    """
    pairs, left_out = _pairs(a, b, dimensions)
    clusters = cluster_names(prediction for listed in pairs.values() for prediction, _ in listed)
    tests = PairedDraws.drawn(len(clusters), draws, seed)
    bootstrap = None if tests is None else tests.bootstrap
    differences: dict[str, dict[str, Difference]] = {}
    undefined: dict[str, dict[str, str]] = {}
    spans: dict[str, float] = {}
    few: set[str] = set()
    for key in dimensions:
        arrays_a = dimension_arrays(key, [p for p, _ in pairs[key]], clusters)
        arrays_b = dimension_arrays(key, [p for _, p in pairs[key]], clusters)
        differences[key], undefined[key] = metric_differences(
            metrics, arrays_a, arrays_b, bootstrap, tests
        )
        spans[key] = span(arrays_a.scale)
        if has_few_clusters(arrays_a.cluster):
            few.add(key)
    return {
        "macro": macro_differences(differences, metrics, spans, level),
        "dimensions": {
            key: {**entries, "n": len(pairs[key]), "undefined": undefined[key]}
            for key, entries in _with_adjusted_p(differences, level, few).items()
        },
        "records": sum(map(len, pairs.values())),
        "left_out": left_out,
        "bootstrap": {
            "draws": 0 if tests is None else draws,
            "level": level,
            "clusters": len(clusters),
            "seed": seed,
        },
    }


@dataclass(frozen=True, eq=False)
class PairedDraws:
    """Bootstrap draws over G clusters, and exchanges over 2G clusters: those of a, then those of b."""

    bootstrap: BootstrapDraws
    exchange: BootstrapDraws
    exchanged_back: BootstrapDraws

    @classmethod
    def drawn(cls, clusters: int, draws: int, seed: int) -> PairedDraws | None:
        """Draw with the seed; None for no draws or fewer than `LEAST_CLUSTERS` clusters."""
        bootstrap = draws_for_intervals(clusters, draws, seed)
        if bootstrap is None:
            return None
        generator = np.random.default_rng([seed, 1])
        unexchanged = generator.integers(0, 2, size=(draws, clusters), dtype=np.uint8)
        return cls(
            bootstrap,
            BootstrapDraws(np.concatenate([unexchanged, 1 - unexchanged], axis=1)),
            BootstrapDraws(np.concatenate([1 - unexchanged, unexchanged], axis=1)),
        )


def permutation_p(observed: float, exchanged: np.ndarray | None) -> float | None:
    """(1 + #{|d*| ≥ |d|}) / (1 + draws) over the draws in which the difference is defined; None without such draws."""
    if exchanged is None:
        return None
    defined = exchanged[~np.isnan(exchanged)]
    if len(defined) == 0:
        return None
    # The tolerance also counts exchanges that differ from the observed difference only by rounding.
    as_large = np.abs(defined) >= abs(observed) * (1 - 1e-9) - 1e-12
    return float((1 + as_large.sum()) / (1 + len(defined)))


def adjust_p_values(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set ``p_adjusted`` of the entries with a ``p`` (Benjamini & Yekutieli); return these entries."""
    tested = [entry for entry in entries if entry["p"] is not None]
    if tested:
        adjusted = scipy.stats.false_discovery_control(
            [entry["p"] for entry in tested], method="by"
        )
        for entry, p in zip(tested, adjusted, strict=True):
            entry["p_adjusted"] = float(p)
    return tested


def _pairs(
    a: Iterable[Prediction], b: Iterable[Prediction], dimensions: Sequence[str]
) -> tuple[dict[str, list[tuple[Prediction, Prediction]]], dict[str, int]]:
    """Both judges' predictions of each record, by dimension; the numbers of predictions left out, by reason."""
    only_b = {(p.id, p.dimension): p for p in b}
    pairs: dict[str, list[tuple[Prediction, Prediction]]] = {key: [] for key in dimensions}
    left_out = {"unrated": 0, "unscored_by_one": 0, "only_in_a": 0, "only_in_b": 0}
    for prediction in a:
        if prediction.dimension not in pairs:
            continue
        other = only_b.pop((prediction.id, prediction.dimension), None)
        if other is None:
            left_out["only_in_a"] += 1
            continue
        _require_same_record(prediction, other)
        if prediction.mean_rating is None:
            left_out["unrated"] += 1
        elif not (prediction.scored and other.scored):
            left_out["unscored_by_one"] += 1
        else:
            pairs[prediction.dimension].append((prediction, other))
    left_out["only_in_b"] = sum(key in pairs for _, key in only_b)
    return pairs, left_out


def _require_same_record(prediction: Prediction, other: Prediction) -> None:
    for name in ("scale", "ratings", "group"):
        first, second = getattr(prediction, name), getattr(other, name)
        # Scales with the same ends and other points between them (bins) have the same unit.
        same_unit = name == "scale" and (first[0], first[-1]) == (second[0], second[-1])
        if first != second and not same_unit:
            raise ValueError(
                f"the two judges have different data: record '{prediction.id}' on "
                f"'{prediction.dimension}' has {name} {first} with the first judge "
                f"and {second} with the second; evaluate both on the same file"
            )


def metric_differences(
    metrics: Sequence[Metric],
    a: DimensionArrays,
    b: DimensionArrays,
    draws: BootstrapDraws | None,
    tests: PairedDraws | None = None,
) -> tuple[dict[str, Difference], dict[str, str]]:
    """The difference of each metric on one dimension, and the reason for each metric that is undefined on a side.

    ``draws`` is None for no intervals, ``tests`` for no permutation test.
    """
    values: dict[Metric, tuple[float, float]] = {}
    undefined: dict[str, str] = {}
    for metric in metrics:
        try:
            values[metric] = value_of(metric, a), value_of(metric, b)
        except UndefinedError as error:
            undefined[metric_name(metric)] = str(error)
    resampled: list[np.ndarray | None] = [None] * len(values)
    exchanged = resampled
    if draws is not None:
        resampled = _subtracted(
            all_over_draws([(metric, a) for metric in values], draws),
            all_over_draws([(metric, b) for metric in values], draws),
        )
    if tests is not None:
        clusters = tests.bootstrap.counts.shape[1]
        forms = {metric: getattr(metric, "exchange", Exchange.RAW) for metric in values}
        stacked = {
            form: _stacked(_in_form(a, form), _in_form(b, form), clusters)
            for form in set(forms.values())
        }
        on_both = [(metric, stacked[form]) for metric, form in forms.items()]
        exchanged = _subtracted(
            all_over_draws(on_both, tests.exchange), all_over_draws(on_both, tests.exchanged_back)
        )
    differences = {
        metric_name(metric): Difference(a=value_a, b=value_b, resampled=drawn, exchanged=swapped)
        for (metric, (value_a, value_b)), drawn, swapped in zip(
            values.items(), resampled, exchanged, strict=True
        )
    }
    return differences, undefined


def _subtracted(
    a: Sequence[np.ndarray | None], b: Sequence[np.ndarray | None]
) -> list[np.ndarray | None]:
    """a − b in every draw, for each metric; None where a or b has no draws."""
    return [
        None if first is None or second is None else first - second
        for first, second in zip(a, b, strict=True)
    ]


def _in_form(arrays: DimensionArrays, form: Exchange) -> DimensionArrays:
    """The judge's scores in the form that the metric depends on: ranks, standardised or raw scores."""
    if form is Exchange.RANKED:
        return replace(arrays, predicted=scipy.stats.rankdata(arrays.predicted))
    if form is Exchange.STANDARDISED:
        return replace(arrays, predicted=scipy.stats.zscore(arrays.predicted))
    return arrays


def _stacked(a: DimensionArrays, b: DimensionArrays, clusters: int) -> DimensionArrays:
    """The records of a, then those of b with clusters numbered from `clusters` on.

    A draw of these clusters takes each record from one of the judges. Distributions and raters are left out:
    the metrics of a comparison do not use them, and the points of the distributions may differ.
    """
    return replace(
        a,
        predicted=np.concatenate([a.predicted, b.predicted]),
        rated=np.concatenate([a.rated, b.rated]),
        distribution=np.full((len(a.predicted) + len(b.predicted), len(a.scale)), np.nan),
        ratings=np.concatenate([a.ratings, b.ratings]),
        cluster=np.concatenate([a.cluster, b.cluster + clusters]),
        raters_known=None,
    )


def macro_differences(
    differences: Mapping[str, Mapping[str, Difference]],
    metrics: Sequence[Metric],
    spans: Mapping[str, float],
    level: float,
) -> dict[str, dict[str, Any] | None]:
    """The difference of each metric's mean over dimensions; ``unit`` if it is in ranges of the scales (`divisors`)."""
    macro: dict[str, dict[str, Any] | None] = {}
    for metric in metrics:
        name, by = metric_name(metric), divisors(metric, spans)
        used = {key: of[name].over(by[key]) for key, of in differences.items() if name in of}
        entry = macro_difference(list(used.values()), len(differences), level)
        if entry and len(set(by.values())) > 1:
            entry["unit"] = RANGE
        macro[name] = entry
    return macro


def macro_difference(
    used: Sequence[Difference], dimensions: int, level: float
) -> dict[str, Any] | None:
    """The difference of the mean over the dimensions in which the metric is defined on both sides."""
    if not used:
        return None
    mean = Difference(
        a=float(np.mean([d.a for d in used])),
        b=float(np.mean([d.b for d in used])),
        resampled=mean_over_draws([d.resampled for d in used]),
        exchanged=mean_over_draws([d.exchanged for d in used]),
    )
    return {**mean.as_dict(level), "dimensions": dimensions, "dimensions_defined": len(used)}


def _with_adjusted_p(
    differences: Mapping[str, Mapping[str, Difference]], level: float, few: Collection[str]
) -> dict[str, dict[str, Any]]:
    """The differences as plain values; the p of each metric is adjusted over the dimensions.

    ``few`` has the dimensions with too few clusters for an interval and a test.
    """
    plain: dict[str, dict[str, Any]] = {
        key: {
            name: (difference.untested() if key in few else difference).as_dict(level)
            for name, difference in by_metric.items()
        }
        for key, by_metric in differences.items()
    }
    for name in {name for entries in plain.values() for name in entries}:
        adjust_p_values([entries[name] for entries in plain.values() if name in entries])
    return plain
