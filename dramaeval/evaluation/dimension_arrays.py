"""The predictions of one dimension as arrays: the input of every metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dramaeval.data.raters import POSITIONAL, rater_table
from dramaeval.evaluation.predictions import Prediction

ONLY_MEANS = "only the mean ratings are known, not those of each rater"
RATERS_UNKNOWN = "it is not known which rater gave which rating"


@dataclass(frozen=True, kw_only=True, eq=False)
class DimensionArrays:
    """The records of one dimension that are both scored and rated, one row per record.

    Shapes, with n records, K scores on the scale and R raters:
    `scale` (K,); `predicted` (n,) expected scores; `rated` (n,) mean ratings; `distribution`
    (n, K), rows of NaN for a score without distribution; `ratings` (n, R), NaN where missing, rows of
    NaN where only the mean is known; `cluster` (n,) integers: the bootstrap draws records of
    the same cluster together. `raters_known` (n,): whether column k of `ratings` is the k-th rater in
    this row; None means in all rows.
    """

    dimension: str
    scale: np.ndarray
    predicted: np.ndarray
    rated: np.ndarray
    distribution: np.ndarray
    ratings: np.ndarray
    cluster: np.ndarray
    raters_known: np.ndarray | None = None

    @property
    def ratings_by_rater(self) -> np.ndarray:
        """`ratings` with a column for each rater, (n, R); rows of NaN where the raters are not known."""
        return by_rater(self.ratings, self.raters_known)

    @property
    def n(self) -> int:
        """The number of records that are both scored and rated."""
        return len(self.predicted)

    @property
    def pass_fail(self) -> bool:
        """Whether the scale is 0 (fail) and 1 (pass)."""
        return self.scale.tolist() == [0.0, 1.0]

    @property
    def majority(self) -> np.ndarray:
        """The majority of the raters on a pass/fail scale, (n,): 1, 0, or NaN for a tie."""
        return np.where(self.rated == 0.5, np.nan, (self.rated > 0.5).astype(float))

    @property
    def predicted_step(self) -> np.ndarray:
        """Index of the score nearest to the expected score, (n,); halfway goes up."""
        return nearest_step(self.predicted, self.scale)

    @property
    def rated_step(self) -> np.ndarray:
        """Index of the score nearest to the mean rating, (n,); halfway goes up."""
        return nearest_step(self.rated, self.scale)

    def take(self, rows: np.ndarray) -> DimensionArrays:
        """The given rows in that order; rows may repeat."""
        return replace(
            self,
            predicted=self.predicted[rows],
            rated=self.rated[rows],
            distribution=self.distribution[rows],
            ratings=self.ratings[rows],
            cluster=self.cluster[rows],
            raters_known=None if self.raters_known is None else self.raters_known[rows],
        )


def nearest_step(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Index into `scale` (K,) of the score nearest to each value; halfway goes up. NaN gets the last index."""
    return np.searchsorted((scale[1:] + scale[:-1]) / 2, values, side="right")


class Grouped(Protocol):
    """A prediction of any kind."""

    @property
    def id(self) -> str:
        """The id of the record."""

    @property
    def group(self) -> str | None:
        """The name of the group; None without one."""


def cluster_names(predictions: Iterable[Grouped]) -> dict[tuple[str, str], int]:
    """Number the clusters (`cluster_key`) in an order that does not depend on the order of the predictions."""
    names = {cluster_key(prediction) for prediction in predictions}
    return {name: number for number, name in enumerate(sorted(names))}


def cluster_key(prediction: Grouped) -> tuple[str, str]:
    """`("group", name)`; `("id", id)` for a record without a group, which is a cluster of one record.

    Records of two tasks of a mixture that have the same id are one cluster, because they may be the same recording.
    """
    if prediction.group is None:
        return ("id", prediction.id)
    return ("group", prediction.group)


def clusters_of(
    predictions: Sequence[Grouped], clusters: Mapping[tuple[str, str], int]
) -> np.ndarray:
    """The number of each prediction's cluster, (n,)."""
    return np.array([clusters[cluster_key(p)] for p in predictions], dtype=np.intp)


def dimension_arrays(
    dimension: str,
    predictions: Sequence[Prediction],
    clusters: dict[tuple[str, str], int],
) -> DimensionArrays:
    """Make the arrays of one dimension; `predictions` without a score or a rating are left out.

    Raises ValueError if the predictions do not share one scale.
    """
    usable = [p for p in predictions if p.scored and p.mean_rating is not None]
    scale = shared_scale(dimension, predictions)
    blank = (float("nan"),) * len(scale)
    distribution = np.array([p.distribution or blank for p in usable], dtype=float)
    return DimensionArrays(
        dimension=dimension,
        scale=scale,
        predicted=np.array([p.expected for p in usable], dtype=float),
        rated=np.array([p.mean_rating for p in usable], dtype=float),
        distribution=distribution.reshape(len(usable), len(scale)),
        ratings=rating_matrix(usable),
        cluster=clusters_of(usable, clusters),
        raters_known=raters_known(usable),
    )


def shared_scale(dimension: str, predictions: Sequence[Prediction]) -> np.ndarray:
    """The common scale of a dimension's predictions, (K,); empty without predictions."""
    scales = {p.scale for p in predictions}
    if len(scales) > 1:
        listed = " and ".join(str(list(scale)) for scale in sorted(scales))
        raise ValueError(
            f"dimension '{dimension}' is predicted on different scales: {listed}; "
            "evaluate them as separate dimensions"
        )
    return np.array(next(iter(scales), ()), dtype=float)


def rating_matrix(predictions: Sequence[Prediction]) -> np.ndarray:
    """Ratings (predictions, R), NaN where missing; column k is the k-th rater where raters are known.

    A row of which only the mean is known has only NaN.
    """
    if any(p.raters != POSITIONAL for p in predictions):
        return _matrix_by_rater(predictions)
    rows = [p.ratings for p in predictions]
    raters = max(map(len, rows), default=0)
    rows = [row if len(row) == raters else row + (None,) * (raters - len(row)) for row in rows]
    # numpy converts None to NaN in an array of floats.
    return np.array(rows, dtype=float).reshape(len(rows), raters)


def _matrix_by_rater(predictions: Sequence[Prediction]) -> np.ndarray:
    _, table = rater_table((p.ratings, p.raters) for p in predictions)
    unknown = [row for row, p in enumerate(predictions) if p.raters.unknown]
    width = max((len(predictions[row].ratings) for row in unknown), default=0)
    blank = np.full((len(table), max(width - table.shape[1], 0)), np.nan)
    table = np.concatenate([table, blank], axis=1)
    for row in unknown:
        ratings = predictions[row].ratings
        table[row, : len(ratings)] = [np.nan if value is None else value for value in ratings]
    return table


def raters_known(predictions: Sequence[Prediction]) -> np.ndarray:
    """Whether it is known which rater gave which rating, (predictions,)."""
    return np.array([p.raters.known for p in predictions], dtype=bool)


def by_rater(ratings: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """The ratings (n, R) with NaN in the rows whose raters are not known."""
    return ratings if known is None else np.where(known[:, None], ratings, np.nan)


def why_unknown(predictions: Sequence[Prediction]) -> str | None:
    """Why no rating has a known rater; None if some rating has one, or there is no rating."""
    rated = [p for p in predictions if p.mean_rating is not None]
    if not rated or any(p.raters.known for p in rated):
        return None
    return ONLY_MEANS if all(p.raters.mean_only for p in rated) else RATERS_UNKNOWN
