"""System level: agreement of judge and raters on the ranking of the systems that produced the clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dramaeval.evaluation.bootstrap import ratio
from dramaeval.evaluation.dimension_arrays import DimensionArrays, cluster_names, clusters_of
from dramaeval.evaluation.metrics.metric import metric_name, metric_values
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.rank_correlations import Kendall, Spearman
from dramaeval.evaluation.metrics.soft_pairwise_accuracy import (
    random_signs,
    soft_pairwise_accuracy,
    superiority,
)
from dramaeval.evaluation.predictions import Prediction

MACRO_NAMES = ("pearson", "spearman", "kendall", "pairwise_accuracy", "soft_pairwise_accuracy")


def system_level(
    predictions: Sequence[Prediction], arrays: DimensionArrays, *, seed: int
) -> dict[str, Any] | None:
    """Compare the systems' mean scores by judge and raters on one dimension; None if no record names a system.

    `arrays` has a row for each of the `predictions` that is scored and rated, in the same order.
    A mean is over the records of a system. Records without a system are left out and counted.
    """
    usable = [p for p in predictions if p.scored and p.mean_rating is not None]
    if not any(p.system for p in usable):
        return None
    rows = np.array([row for row, p in enumerate(usable) if p.system], dtype=np.intp)
    with_system = [usable[row] for row in rows]
    number = {
        name: index for index, name in enumerate(sorted({str(p.system) for p in with_system}))
    }
    system = np.array([number[str(p.system)] for p in with_system], dtype=np.intp)
    clusters = cluster_names(with_system)
    group = clusters_of(with_system, clusters)
    predicted, rated = arrays.predicted[rows], arrays.rated[rows]
    means_predicted = cell_means(predicted, system, (len(number),))
    means_rated = cell_means(rated, system, (len(number),))
    return {
        "systems": len(number),
        "n": len(rows),
        "without_system": len(usable) - len(rows),
        **_correlations(arrays, means_predicted, means_rated),
        **_pairwise_accuracy(means_predicted, means_rated),
        **_soft(predicted, rated, system, group, (len(number), len(clusters)), seed),
        "means": {
            name: {
                "n": int((system == index).sum()),
                "predicted": float(means_predicted[index]),
                "rated": float(means_rated[index]),
            }
            for name, index in number.items()
        },
    }


def _correlations(
    arrays: DimensionArrays, predicted: np.ndarray, rated: np.ndarray
) -> dict[str, Any]:
    """Correlations of the systems' means, one row per system."""
    blank = np.full((len(predicted), 0), np.nan)
    means = DimensionArrays(
        dimension=arrays.dimension,
        scale=arrays.scale,
        predicted=predicted,
        rated=rated,
        distribution=blank,
        ratings=blank,
        cluster=np.arange(len(predicted)),
    )
    metrics = {metric_name(metric): metric for metric in (Pearson(), Spearman(), Kendall())}
    values, reasons = metric_values(metrics, means)
    # The reasons of the metrics mention records; a row here is a system.
    undefined = {name: reason.replace("record", "system") for name, reason in reasons.items()}
    return {"undefined": undefined, **values}


def _pairwise_accuracy(predicted: np.ndarray, rated: np.ndarray) -> dict[str, Any]:
    """The share of pairs of systems in the same order by judge and raters (Kocmi et al. 2021).

    Pairs with equal means of the raters are left out; a pair with equal means of the judge only counts as wrong.
    """
    first, second = np.triu_indices(len(rated), 1)
    people = np.sign(rated[first] - rated[second])
    judge = np.sign(predicted[first] - predicted[second])
    clear = people != 0
    return {
        "pairs": len(first),
        "pairs_tied_by_raters": int((~clear).sum()),
        "pairwise_accuracy": float((people == judge)[clear].mean()) if clear.any() else None,
    }


def _soft(
    predicted: np.ndarray,
    rated: np.ndarray,
    system: np.ndarray,
    group: np.ndarray,
    shape: tuple[int, int],
    seed: int,
) -> dict[str, Any]:
    """Soft pairwise accuracy, and the numbers of pairs of systems that are tested, and tested on shared groups.

    ``shape`` has the numbers of systems and of groups.
    """
    cell = system * shape[1] + group
    signs = random_signs(shape[1], seed)
    people = superiority(cell_means(rated, cell, shape), signs)
    judge = superiority(cell_means(predicted, cell, shape), signs)
    value = soft_pairwise_accuracy(people.p, judge.p)
    tested = ~np.isnan(people.p)
    return {
        "soft_pairwise_accuracy": None if np.isnan(value) else value,
        "pairs_tested": int(tested.sum()),
        "pairs_on_shared_groups": int((people.paired & tested).sum()),
    }


def cell_means(values: np.ndarray, cell: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mean of the values (n,) in each cell of an array, NaN in a cell without values.

    `cell` (n,) has the index of the cell of each value in the flattened array.
    """
    size = math.prod(shape)
    totals = np.bincount(cell, weights=values, minlength=size)
    return ratio(totals, np.bincount(cell, minlength=size)).reshape(shape)
