"""Difference between two judges of pairs: paired bootstrap and permutation test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import has_few_clusters
from dramaeval.evaluation.comparison import (
    Difference,
    PairedDraws,
    adjust_p_values,
    macro_difference,
)
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_arrays import PairArrays, pair_arrays, pair_clusters
from dramaeval.evaluation.pairs.pair_metrics import (
    PAIR_METRICS,
    UndefinedError,
    pair_value,
    pair_values_over_draws,
)

COMPARED = ("accuracy", "accuracy_untied", "brier", "cross_entropy")
"""The metrics of a gain: means over pairs, whose permutation test is exact with exchanged predictions."""


def pair_gain(
    a: Iterable[PairPrediction],
    b: Iterable[PairPrediction],
    dimensions: Sequence[str],
    *,
    seed: int,
    draws: int,
    level: float,
) -> dict[str, Any]:
    """Compare two judges on the pairs that both judged: the difference a − b of each metric of `COMPARED`.

    The bootstrap draws prompts, the same for both judges; the test exchanges the judges' predictions of a prompt with
    probability ½ (see `comparison.compare`).

    Args:
        a: predictions of one judge.
        b: predictions of the other judge.
        dimensions: keys of the dimensions.
        seed: seed of the draws.
        draws: number of draws of the bootstrap and of the test; 0 for none.
        level: confidence level of the intervals.

    Returns:
        ``macro`` and ``dimensions.<key>``, each with ``a``, ``b``, ``difference``, ``interval`` and ``p`` by metric, or
        None if the metric is undefined; dimensions have ``p_adjusted`` too. ``pairs``: the number of pairs × dimensions.
    """
    others = {(p.id, p.dimension): p for p in b}
    common = [(p, others[p.id, p.dimension]) for p in a if (p.id, p.dimension) in others]
    clusters = pair_clusters(p for p, _ in common)
    tests = PairedDraws.drawn(len(clusters), draws, seed)
    differences = {}
    few: set[str] = set()
    for key in dimensions:
        of_a = pair_arrays([p for p, _ in common if p.dimension == key], clusters)
        of_b = pair_arrays([p for _, p in common if p.dimension == key], clusters)
        differences[key] = _differences(of_a, of_b, len(clusters), tests)
        if has_few_clusters(of_a.cluster):
            few.add(key)
    plain: dict[str, dict[str, Any]] = {
        key: {
            name: (by_name[name].untested() if key in few else by_name[name]).as_dict(level)
            if name in by_name
            else None
            for name in COMPARED
        }
        for key, by_name in differences.items()
    }
    macro = {}
    for name in COMPARED:
        adjust_p_values([entries[name] for entries in plain.values() if entries[name]])
        used = [by_name[name] for by_name in differences.values() if name in by_name]
        macro[name] = macro_difference(used, len(differences), level)
    return {
        "macro": macro,
        "dimensions": plain,
        "pairs": len(common),
        "bootstrap": {"draws": draws if tests else 0, "level": level, "clusters": len(clusters)},
    }


def _differences(
    a: PairArrays, b: PairArrays, clusters: int, tests: PairedDraws | None
) -> Mapping[str, Difference]:
    """The difference of each metric that is defined for both judges."""
    values: dict[str, tuple[float, float]] = {}
    for name in COMPARED:
        with suppress(UndefinedError):
            values[name] = (pair_value(PAIR_METRICS[name], a), pair_value(PAIR_METRICS[name], b))
    resampled: dict[str, np.ndarray] = {}
    exchanged: dict[str, np.ndarray] = {}
    if tests is not None:
        metrics = {name: PAIR_METRICS[name] for name in values}
        draws_a, draws_b = (
            pair_values_over_draws(metrics, side, tests.bootstrap) for side in (a, b)
        )
        stacked = _stacked(a, b, clusters)
        first = pair_values_over_draws(metrics, stacked, tests.exchange)
        second = pair_values_over_draws(metrics, stacked, tests.exchanged_back)
        resampled = {name: draws_a[name] - draws_b[name] for name in values}
        exchanged = {name: first[name] - second[name] for name in values}
    return {
        name: Difference(
            a=value_a, b=value_b, resampled=resampled.get(name), exchanged=exchanged.get(name)
        )
        for name, (value_a, value_b) in values.items()
    }


def _stacked(a: PairArrays, b: PairArrays, clusters: int) -> PairArrays:
    """The pairs of a, then those of b with clusters numbered from `clusters` on.

    A draw of these clusters takes each prompt from one of the judges.
    """
    b = replace(b, cluster=b.cluster + clusters)
    columns = {
        f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in fields(PairArrays)
    }
    return PairArrays(**columns)
