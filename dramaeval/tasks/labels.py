"""Label policies: they convert the values of several raters to the target of one question.

A policy is a function of the ratings, the scale and a random generator. It returns a distribution over the
scale, or None if no rater gave a value. Missing ratings are ignored. A policy that can weight the raters has a
further argument ``weights``, one weight per rater. To add a policy, name such a function in
``task.label_policies``. If only the mean rating is known, a policy gets the scores of the scale as ratings,
weighted by the distribution of `dramaeval.data.mean_ratings`.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dramaeval.config.problems import ConfigError
from dramaeval.data.mean_ratings import mean_distribution
from dramaeval.data.problems import one_line
from dramaeval.data.raters import Rated, RaterInfo, RaterKey, rater_table
from dramaeval.errors import raised

log = logging.getLogger(__name__)

Ratings = Sequence[float | None]
Weights = Sequence[float] | np.ndarray
#: Called with ratings, scale, generator and, if it accepts it, ``weights``; see the module.
LabelPolicy = Callable[..., np.ndarray | None]


def present(ratings: Ratings, weights: Weights | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The values that are not missing, and their weights, which sum to 1; each float64 ``[raters with a value]``."""
    raters = [rater for rater, value in enumerate(ratings) if value is not None]
    values = np.array([ratings[rater] for rater in raters], dtype=np.float64)
    shares = np.array([1.0 if weights is None else weights[rater] for rater in raters])
    return values, shares / shares.sum() if raters else shares


def distribution(
    ratings: Ratings,
    scale: Sequence[float],
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
    scale: Sequence[float],
    rng: np.random.Generator,
    weights: Weights | None = None,
) -> np.ndarray | None:
    """The value of one rater, drawn in each call, as in Speech-DRAME."""
    values, shares = present(ratings, weights)
    if values.size == 0:
        return None
    drawn = rng.choice(values) if weights is None else rng.choice(values, p=shares)
    return between(float(drawn), scale)


def mean(
    ratings: Ratings,
    scale: Sequence[float],
    rng: np.random.Generator,
    weights: Weights | None = None,
) -> np.ndarray | None:
    """The mean rating, divided between its two neighbours on the scale so that the mean is kept."""
    values, shares = present(ratings, weights)
    if values.size == 0:
        return None
    average = values.mean() if weights is None else values @ shares
    # The rounding of the sum must not move the mean of equal ratings beyond the end of the scale.
    return between(float(np.clip(average, values.min(), values.max())), scale)


def median(
    ratings: Ratings,
    scale: Sequence[float],
    rng: np.random.Generator,
    weights: Weights | None = None,
) -> np.ndarray | None:
    """The median rating; between two points of the scale, it is divided between them.

    With weights, the median is the value at which half of the weight is reached, or the midpoint of two values if half
    is reached exactly between them.
    """
    values, shares = present(ratings, weights)
    if values.size == 0:
        return None
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(shares[order])
    first, second = np.searchsorted(reached, [0.5 - 1e-9, 0.5 + 1e-9])
    lower, upper = values[order][first], values[order][min(second, len(values) - 1)]
    return between(float((lower + upper) / 2), scale)


class RaterWeighted:
    """The histogram in which each rater is weighted by the agreement with the other raters.

    The weight of a rater in a field is the Pearson correlation, over the training records, of this rater's
    values with the mean of the other raters' values (Snow et al. 2008, section 5), but at least ``floor``, so that
    every rating counts. If the correlation is undefined (fewer than ``least`` records that this rater and another
    rated, or constant ratings), the rater gets the mean weight of the others; if it is undefined for all raters, all
    weights are 1.

    Args:
        floor: smallest weight.
        least: smallest number of records for a correlation.
    """

    def __init__(self, floor: float = 0.01, least: int = 3) -> None:
        self.floor = floor
        self.least = least
        self.weights: dict[str, np.ndarray] = {}

    def learn(self, columns: Mapping[str, Sequence[Ratings]]) -> None:
        """Compute the weights of each field.

        ``columns[field]`` has the ratings of every training record; position k in all lists is the same rater.
        """
        for field, rows in columns.items():
            raters = max((len(row) for row in rows), default=0)
            table = np.full((len(rows), raters), np.nan)
            for number, row in enumerate(rows):
                table[number, : len(row)] = [np.nan if value is None else value for value in row]
            self.weights[field] = self._weights(field, table)

    def _weights(self, field: str, table: np.ndarray) -> np.ndarray:
        values = np.array([agreement(table, rater, self.least) for rater in range(table.shape[1])])
        unknown = np.isnan(values)
        weights = np.maximum(values, self.floor)
        weights[unknown] = weights[~unknown].mean() if not unknown.all() else 1.0
        listed = ", ".join("-" if np.isnan(value) else f"{value:.2f}" for value in values)
        log.info("Agreement of each rater with the others, %s: %s", field, listed)
        return weights

    def __call__(
        self,
        ratings: Ratings,
        scale: Sequence[float],
        rng: np.random.Generator,
        weights: Weights | None = None,
    ) -> np.ndarray | None:
        """The weighted histogram; None if no rater gave a value."""
        return distribution(ratings, scale, rng, weights)


def agreement(table: np.ndarray, rater: int, least: int = 3) -> float:
    """The correlation of one rater's values with the mean of the other raters' values; NaN if it is undefined.

    Args:
        table: ``[records, raters]``, NaN where a rating is missing.
        rater: the column of the rater.
        least: smallest number of records for a correlation.
    """
    # Only the rows of the rater are copied: with many raters, each has rated few records.
    rated = table[~np.isnan(table[:, rater])]
    others = np.delete(rated, rater, axis=1)
    shared = ~np.isnan(others).all(axis=1)
    if shared.sum() < least:
        return float("nan")
    values, mean_of_others = rated[shared, rater], np.nanmean(others[shared], axis=1)
    if np.ptp(values) == 0 or np.ptp(mean_of_others) == 0:
        return float("nan")
    return float(np.corrcoef(values, mean_of_others)[0, 1])


def confidence_weights(
    raters: Sequence[RaterKey], confidence: Ratings, info: RaterInfo
) -> np.ndarray:
    """Weights ``[raters]`` from the stated confidence of these raters.

    A rater without a stated confidence gets the mean of the others; if no rater states one, or it is not known who
    stated them, all weights are 1.

    Args:
        raters: the raters.
        confidence: the stated values.
        info: the raters who stated them.
    """
    by_rater = dict(zip(info.keys(len(confidence)), confidence, strict=False))
    stated = np.array([by_rater.get(rater) for rater in raters], dtype=np.float64)
    is_known = ~np.isnan(stated)
    return np.where(is_known, stated, stated[is_known].mean() if is_known.any() else 1.0)


def learn_by_rater(
    policy: Any, fields: Mapping[str, Sequence[Rated]]
) -> dict[str, dict[RaterKey, int]]:
    """Fit a policy to the ratings of the training records by field; returns the column of each rater."""
    columns, rows = {}, {}
    for field, rated in fields.items():
        raters, table = rater_table(rated)
        columns[field] = {rater: column for column, rater in enumerate(raters)}
        rows[field] = [
            [None if math.isnan(value) else value for value in row] for row in table.tolist()
        ]
        if not raters:
            log.warning("%s: the raters are not known, so that all have one weight.", field)
    policy.learn(rows)
    return columns


def learnt_weights(
    policy: Any, field: str, columns: Mapping[RaterKey, int], raters: Sequence[RaterKey]
) -> np.ndarray | None:
    """The weights ``[raters]`` that a policy has learnt in a field; None if there are none.

    Args:
        policy: the label policy.
        field: the annotation field.
        columns: the column of each rater from `learn_by_rater`; a rater without one gets the mean of all weights.
        raters: the raters.
    """
    weights = policy.weights.get(field) if hasattr(policy, "learn") else None
    if weights is None:
        return None
    average = float(weights.mean()) if len(weights) else 1.0
    return np.array(
        [weights[columns[rater]] if rater in columns else average for rater in raters],
        dtype=np.float64,
    )


def target_of_mean(
    policy: LabelPolicy,
    mean: float | None,
    std: float | None,
    scale: Sequence[float],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """The policy's target if only the mean rating, and perhaps the standard deviation, is known.

    A policy that takes no weights gets the mean as the only rating.
    """
    if mean is None or not takes_weights(policy):
        return policy((mean,), scale, rng)
    shares = mean_distribution(tuple(map(float, scale)), mean, std)
    return policy(scale, scale, rng, weights=shares)


class CheckedPolicy:
    """A label policy of the user, whose results are checked; it has the policy's signature and attributes.

    Args:
        policy: the label policy.

    Raises:
        ConfigError: in a call, if the policy raises an error or returns no distribution over the scale.
    """

    def __init__(self, policy: LabelPolicy) -> None:
        self.policy = policy
        self.__signature__ = inspect.signature(policy)

    def __getattr__(self, name: str) -> Any:
        if name == "policy":  # while an instance is unpickled
            raise AttributeError(name)
        return getattr(self.policy, name)

    def __call__(
        self, ratings: Ratings, scale: Sequence[float], rng: np.random.Generator, **weights: Any
    ) -> np.ndarray | None:
        """The policy's target, float64 ``[scale]``; None if it gives none."""
        where = f"for the ratings {list(ratings)} on the scale {list(scale)}"
        try:
            target = self.policy(ratings, scale, rng, **weights)
        except Exception as error:
            raise ConfigError(
                f"task.labels: {self._name} raised {raised(error)} {where}."
            ) from error
        if target is None:
            return None
        try:
            shares = np.asarray(target, dtype=np.float64)
        except (TypeError, ValueError):
            shares = np.array(np.nan)
        is_whole = shares.shape == (len(scale),) and bool((shares >= 0).all())
        if not is_whole or abs(float(shares.sum()) - 1) > 1e-4:  # also NaN
            raise ConfigError(
                f"task.labels: {self._name} returned {one_line(repr(target), 200)} {where}: a label policy returns "
                f"{len(scale)} shares, one for each score, 0 or more and 1 in sum, or None if there are no ratings."
            )
        return shares

    @property
    def _name(self) -> str:
        function = getattr(self.policy, "func", self.policy)
        name = getattr(function, "__qualname__", type(function).__name__)
        return f"{function.__module__}.{name}"


def checked_policy(policy: Any) -> Any:
    """The policy, with its results checked unless it is one of this package."""
    module = getattr(getattr(policy, "func", policy), "__module__", None) or ""
    is_own = policy is None or module.partition(".")[0] == "dramaeval"
    return policy if is_own or isinstance(policy, CheckedPolicy) else CheckedPolicy(policy)


def takes_weights(policy: Any) -> bool:
    """Whether a label policy accepts weights of the raters."""
    return "weights" in inspect.signature(policy).parameters


def between(value: float, scale: Sequence[float]) -> np.ndarray:
    """Divide a value between its two neighbours on the scale: a distribution, float64 ``[scale]``.

    >>> between(3.25, (1, 2, 3, 4, 5))
    array([0.  , 0.  , 0.75, 0.25, 0.  ])

    Raises:
        ValueError: the value is off the scale.
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
