"""Label policies: how several raters' values become the target of one question.

A policy is a function of the ratings, the scale and a random generator that returns a distribution over the
scale, or None where nobody rated. Missing ratings take no part in any of them. A new policy is one such
function, named in ``task.label_policies``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Ratings = Sequence[float | None]
LabelPolicy = Callable[[Ratings, Sequence[int], np.random.Generator], np.ndarray | None]


def present(ratings: Ratings) -> np.ndarray:
    """The values that raters gave, float64 ``[raters who rated]``."""
    return np.array([value for value in ratings if value is not None], dtype=np.float64)


def distribution(
    ratings: Ratings, scale: Sequence[int], rng: np.random.Generator
) -> np.ndarray | None:
    """The raters' histogram: p(k) = share of raters who gave k (You et al. 2025, arXiv 2501.11561)."""
    values = present(ratings)
    if values.size == 0:
        return None
    return sum((between(value, scale) for value in values), np.zeros(len(scale))) / values.size


def sample(ratings: Ratings, scale: Sequence[int], rng: np.random.Generator) -> np.ndarray | None:
    """One rater's value, drawn anew each time: the published recipe."""
    values = present(ratings)
    if values.size == 0:
        return None
    return between(float(rng.choice(values)), scale)


def mean(ratings: Ratings, scale: Sequence[int], rng: np.random.Generator) -> np.ndarray | None:
    """The mean rating, put on its two neighbours on the scale so that their mean is exactly it."""
    values = present(ratings)
    return None if values.size == 0 else between(float(values.mean()), scale)


def median(ratings: Ratings, scale: Sequence[int], rng: np.random.Generator) -> np.ndarray | None:
    """The median rating, put on its two neighbours on the scale where it falls between them."""
    values = present(ratings)
    return None if values.size == 0 else between(float(np.median(values)), scale)


def between(value: float, scale: Sequence[int]) -> np.ndarray:
    """A value as a distribution over its neighbours on the scale, float64 ``[scale]``.

    >>> between(3.25, (1, 2, 3, 4, 5))
    array([0.  , 0.  , 0.75, 0.25, 0.  ])

    Raises:
        ValueError: the value lies off the scale.
    """
    points = np.asarray(scale, dtype=np.float64)
    if not points[0] <= value <= points[-1]:
        raise ValueError(f"A rating of {value:g} lies off the scale {list(scale)}.")
    weights = np.zeros(len(points))
    upper = int(np.searchsorted(points, value))
    if points[upper] == value:
        weights[upper] = 1.0
        return weights
    share = (value - points[upper - 1]) / (points[upper] - points[upper - 1])
    weights[upper - 1], weights[upper] = 1.0 - share, share
    return weights
