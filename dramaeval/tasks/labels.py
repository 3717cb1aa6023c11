"""Label policies: how several raters' values become the target of one question.

A policy is a function of the ratings, the scale and a random generator that returns a distribution over the
scale, or None where nobody rated. Missing ratings take no part in any of them. One that can weight its raters
takes ``weights`` too, one a rater. A new policy is one such function, named in ``task.label_policies``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

log = logging.getLogger(__name__)

Ratings = Sequence[float | None]
Weights = Sequence[float] | np.ndarray


#: Called with ratings, scale and generator, and where it takes it with ``weights``; see the module.
LabelPolicy = Callable[..., np.ndarray | None]


def present(ratings: Ratings, weights: Weights | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The values that raters gave and their weights, which sum to 1; float64 ``[raters who rated]`` each."""
    at = [place for place, value in enumerate(ratings) if value is not None]
    values = np.array([ratings[place] for place in at], dtype=np.float64)
    shares = np.array([1.0 if weights is None else weights[place] for place in at])
    return values, shares / shares.sum() if len(at) else shares


def distribution(
    ratings: Ratings,
    scale: Sequence[int],
    rng: np.random.Generator,
    weights: Weights | None = None,
) -> np.ndarray | None:
    """The raters' histogram: p(k) = share of raters who gave k (You et al. 2025, arXiv 2501.11561)."""
    values, shares = present(ratings, weights)
    if values.size == 0:
        return None
    parts = (share * between(value, scale) for value, share in zip(values, shares, strict=True))
    return sum(parts, np.zeros(len(scale)))


def sample(
    ratings: Ratings,
    scale: Sequence[int],
    rng: np.random.Generator,
    weights: Weights | None = None,
) -> np.ndarray | None:
    """One rater's value, drawn anew each time: the published recipe."""
    values, shares = present(ratings, weights)
    if values.size == 0:
        return None
    drawn = rng.choice(values) if weights is None else rng.choice(values, p=shares)
    return between(float(drawn), scale)


def mean(
    ratings: Ratings,
    scale: Sequence[int],
    rng: np.random.Generator,
    weights: Weights | None = None,
) -> np.ndarray | None:
    """The mean rating, put on its two neighbours on the scale so that their mean is exactly it."""
    values, shares = present(ratings, weights)
    if values.size == 0:
        return None
    # The rounding of a weighted sum must not carry a value off the end of the scale.
    found = values.mean() if weights is None else np.clip(values @ shares, scale[0], scale[-1])
    return between(float(found), scale)


def median(
    ratings: Ratings,
    scale: Sequence[int],
    rng: np.random.Generator,
    weights: Weights | None = None,
) -> np.ndarray | None:
    """The median rating, put on its two neighbours on the scale where it falls between them.

    With weights: the value at which half of the weight is reached, or the middle of two where it is reached
    exactly between them.
    """
    values, shares = present(ratings, weights)
    if values.size == 0:
        return None
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(shares[order])
    at, after = np.searchsorted(reached, [0.5 - 1e-9, 0.5 + 1e-9])
    lower, upper = values[order][at], values[order][min(after, len(values) - 1)]
    return between(float((lower + upper) / 2), scale)


class RaterWeighted:
    """The histogram with each rater weighted by agreement with the others, leave-one-out.

    The weight of a rater in a field is the Pearson correlation, over the training records, of that rater's
    values with the mean of the other raters' (as in Snow et al. 2008, section 5), but at least ``floor``, so
    that nobody's ratings vanish. A rater is a place in the lists of ratings. Where the correlation is
    undefined (under ``least`` records that this rater and another rated, or a rater who never varies), the
    rater counts as much as the others do on average; where it is undefined for all, all count alike.

    Args:
        floor: least weight.
        least: records that a correlation takes.
    """

    def __init__(self, floor: float = 0.01, least: int = 3) -> None:
        self.floor = floor
        self.least = least
        self.weights: dict[str, np.ndarray] = {}

    def learn(self, columns: Mapping[str, Sequence[Ratings]]) -> None:
        """Measure agreement in each field: ``columns[field]`` has the ratings of every training record."""
        for field, rows in columns.items():
            places = max((len(row) for row in rows), default=0)
            table = np.full((len(rows), places), np.nan)
            for number, row in enumerate(rows):
                table[number, : len(row)] = [np.nan if one is None else one for one in row]
            self.weights[field] = self._of(field, table)

    def _of(self, field: str, table: np.ndarray) -> np.ndarray:
        found = np.array([agreement(table, rater, self.least) for rater in range(table.shape[1])])
        unknown = np.isnan(found)
        weights = np.maximum(found, self.floor)
        weights[unknown] = weights[~unknown].mean() if not unknown.all() else 1.0
        told = ", ".join("-" if np.isnan(one) else f"{one:.2f}" for one in found)
        log.info("Agreement of each rater with the others, %s: %s", field, told)
        return weights

    def __call__(
        self,
        ratings: Ratings,
        scale: Sequence[int],
        rng: np.random.Generator,
        weights: Weights | None = None,
    ) -> np.ndarray | None:
        """The weighted histogram; None where nobody rated."""
        return distribution(ratings, scale, rng, weights)


def agreement(table: np.ndarray, rater: int, least: int = 3) -> float:
    """Correlation of one rater's values with the mean of the others'; NaN where it is undefined.

    Args:
        table: ``[records, raters]``, NaN where a rating is missing.
        rater: the column.
        least: records that it takes.
    """
    others = np.delete(table, rater, axis=1)
    both = ~np.isnan(table[:, rater]) & ~np.isnan(others).all(axis=1)
    if both.sum() < least:
        return float("nan")
    own, mean_of_others = table[both, rater], np.nanmean(others[both], axis=1)
    if np.ptp(own) == 0 or np.ptp(mean_of_others) == 0:
        return float("nan")
    return float(np.corrcoef(own, mean_of_others)[0, 1])


def learnt_weights(
    policy: Any, columns: Mapping[str, Sequence[Ratings]] | None = None
) -> Mapping[str, np.ndarray]:
    """The raters' weights in each field that a policy has learnt; nothing where it learns none.

    Args:
        policy: a label policy.
        columns: what it is to learn from first, see `RaterWeighted.learn`.
    """
    learn = getattr(policy, "learn", None)
    if learn is None:
        return {}
    if columns is not None:
        learn(columns)
    return policy.weights


def confidence_weights(confidence: Ratings, raters: int) -> np.ndarray:
    """Weights from how sure each rater says to be, ``[raters]``: as said.

    A rater who does not say counts as the mean of those who do; where nobody says, all count alike.
    """
    given = [value for value in confidence[:raters] if value is not None]
    middle = float(np.mean(given)) if given else 1.0
    said = [*confidence[:raters], *[None] * (raters - len(confidence))]
    return np.array([middle if value is None else value for value in said], dtype=np.float64)


def takes_weights(policy: Any) -> bool:
    """Whether a label policy can weight its raters."""
    return "weights" in inspect.signature(policy).parameters


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
