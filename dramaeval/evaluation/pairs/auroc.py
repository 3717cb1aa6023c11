"""The area under the ROC curve of a sample and of every bootstrap draw."""

from __future__ import annotations

import numpy as np
import scipy

from dramaeval.evaluation.bootstrap import BootstrapDraws


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """P(x > y) + ½ P(x = y) for x in ``positive`` (n,) and y in ``negative`` (m,); NaN if one of them is empty.

    The area is the Mann-Whitney statistic U / (n·m) (Hanley & McNeil 1982).
    """
    n, m = len(positive), len(negative)
    if not n or not m:
        return float("nan")
    ranks = scipy.stats.rankdata(np.concatenate([positive, negative]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def auroc_over_draws(
    positive: np.ndarray,
    positive_cluster: np.ndarray,
    negative: np.ndarray,
    negative_cluster: np.ndarray,
    draws: BootstrapDraws,
) -> np.ndarray:
    """The area in every draw, ``(draws,)``; NaN if a group is empty in the draw. The cost is draws × values."""
    order = np.argsort(negative, kind="stable")
    below = np.searchsorted(negative[order], positive, side="left")
    up_to = np.searchsorted(negative[order], positive, side="right")
    cluster = np.concatenate([positive_cluster, negative_cluster[order]])
    areas = np.full(len(draws), np.nan)
    for rows, weights in draws.weights(cluster):
        positive_weights, negatives = weights[:, : len(positive)], weights[:, len(positive) :]
        running = np.concatenate([np.zeros((len(weights), 1)), negatives.cumsum(axis=1)], axis=1)
        wins = (positive_weights * (running[:, below] + running[:, up_to])).sum(axis=1) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            areas[rows] = wins / (positive_weights.sum(axis=1) * running[:, -1])
    return areas
