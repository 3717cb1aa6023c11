"""The distribution over a scale, from the mean rating and, if it is known, the standard deviation.

Of all distributions with these moments, the one with the largest entropy is taken, because it assumes nothing else
(Jaynes 1957, Information Theory and Statistical Mechanics, eq. 2-6). On a scale, it is p_k ∝ exp(a·x_k + b·x_k²) (Cover
& Thomas 2006, Elements of Information Theory, theorem 12.1.1); without a standard deviation, b is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

ROUNDING = 0.005
"""Largest error of a mean or standard deviation that was rounded to two decimals."""

#: A variance that is nearer to a bound than this share of the squared range gets the distribution of the bound.
_BOUNDARY = 1e-6
_ITERATIONS = 500
_PRECISION = 1e-10


def std_bounds(points: Sequence[float], mean: float) -> tuple[float, float]:
    """The smallest and largest standard deviation of ratings on ``points`` with this mean.

    With the smallest, all ratings are one of the mean's two neighbours on the scale; with the largest, one of the two ends.
    """
    low, high = _variance_bounds(points, mean)
    return math.sqrt(low), math.sqrt(high)


def std_is_possible(
    points: Sequence[float], mean: float, std: float, *, between: bool = False
) -> bool:
    """Whether ratings with this mean and standard deviation are possible, if both are rounded to two or more decimals.

    Ratings are points of the scale, or with ``between`` any numbers from the first point to the last.
    """
    ends = points[0], points[-1]
    means = [min(max(mean + error, ends[0]), ends[1]) for error in (-ROUNDING, 0.0, ROUNDING)]
    # If a point of the scale is within the rounding of the mean, all ratings may be this point.
    passes_point = between or any(means[0] <= point <= means[2] for point in points)
    lowest = 0.0 if passes_point else min(std_bounds(points, m)[0] for m in means)
    highest = max(std_bounds(points, m)[1] for m in means)
    return lowest - ROUNDING <= std <= highest + ROUNDING


@lru_cache(maxsize=65_536)
def mean_distribution(
    points: tuple[float, ...], mean: float, std: float | None = None
) -> tuple[float, ...]:
    """The distribution of largest entropy on a scale with this mean and, if given, standard deviation.

    Args:
        points: the scale, ascending.
        mean: a number between the ends of the scale.
        std: the root of Σ p_k (x_k − mean)²; a value that is impossible on the scale, because it was rounded or
            because ratings are between the points, is replaced by the nearest possible one.

    Returns:
        the probability of each point.

    Raises:
        ValueError: the mean is off the scale, or no ratings have this mean and standard deviation.
    """
    x = np.asarray(points, dtype=np.float64)
    if not x[0] <= mean <= x[-1]:
        raise ValueError(f"A mean of {mean:g} lies off the scale {x[0]:g} to {x[-1]:g}.")
    if std is not None and not std_is_possible(points, mean, std, between=True):
        raise ValueError(f"No ratings have the mean {mean:g} and the standard deviation {std:g}.")
    if mean in (x[0], x[-1]):
        return tuple((x == mean).astype(float).tolist())
    reach = float(x[-1] - x[0])
    deviations = (x - mean) / reach
    if std is None:
        return _largest_entropy(deviations[None, :], np.zeros(1))
    low, high = _variance_bounds(points, mean)
    if std**2 <= low + _BOUNDARY * reach**2:
        upper = max(int(np.searchsorted(x, mean)), 1)
        return _on_two(x, mean, upper - 1, upper)
    if std**2 >= high - _BOUNDARY * reach**2:
        return _on_two(x, mean, 0, len(x) - 1)
    features = np.stack([deviations, deviations**2])
    return _largest_entropy(features, np.array([0.0, (std / reach) ** 2]))


def _variance_bounds(points: Sequence[float], mean: float) -> tuple[float, float]:
    upper = max(int(np.searchsorted(points, mean)), 1)
    neighbours = (mean - points[upper - 1]) * (points[upper] - mean)
    return max(neighbours, 0.0), max((mean - points[0]) * (points[-1] - mean), 0.0)


def _on_two(x: np.ndarray, mean: float, lower: int, upper: int) -> tuple[float, ...]:
    weights = np.zeros(len(x))
    weights[upper] = (mean - x[lower]) / (x[upper] - x[lower])
    weights[lower] = 1.0 - weights[upper]
    return tuple(weights.tolist())


def _largest_entropy(features: np.ndarray, wanted: np.ndarray) -> tuple[float, ...]:
    """Find p ∝ exp(θ·f) with Σ p f = wanted, by Newton's method on the convex function log Σ exp(θ·f) − θ·wanted.

    ``features`` has the shape (F, K); ``wanted``, (F,), is inside the convex hull of its columns.
    """
    theta = np.zeros(len(features))
    p, value = _softmax(theta, features, wanted)
    for _ in range(_ITERATIONS):
        gradient = features @ p - wanted
        if np.abs(gradient).max() < _PRECISION:
            break
        centred = features - (features @ p)[:, None]
        step = np.linalg.lstsq((centred * p) @ centred.T, gradient, rcond=1e-15)[0]
        length = 1.0
        while length > 1e-12:
            p_next, value_next = _softmax(theta - length * step, features, wanted)
            if value_next <= value - 1e-4 * length * float(gradient @ step) + 1e-15:
                break
            length /= 2
        theta, p, value = theta - length * step, p_next, value_next
    return tuple(p.tolist())


def _softmax(
    theta: np.ndarray, features: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, float]:
    """The probabilities, and the value of the function that `_largest_entropy` minimises."""
    logits = theta @ (features - wanted[:, None])
    largest = logits.max()
    weights = np.exp(logits - largest)
    total = weights.sum()
    return weights / total, float(largest + np.log(total))
