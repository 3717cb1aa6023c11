"""One dimension's predictions as arrays: what every metric is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dramaeval.evaluation.predictions import Prediction


@dataclass(frozen=True, kw_only=True, eq=False)
class DimensionArrays:
    """The records of one dimension that are both scored and rated, one row a record.

    Shapes, with n records, K scores on the scale and R raters' places:
    `scale` (K,); `predicted` (n,) expected scores; `rated` (n,) mean ratings; `distribution`
    (n, K), rows of NaN where a judge gave a number only; `ratings` (n, R), NaN where missing;
    `cluster` (n,) whole numbers: records with the same one are drawn together by the bootstrap.
    """

    dimension: str
    scale: np.ndarray
    predicted: np.ndarray
    rated: np.ndarray
    distribution: np.ndarray
    ratings: np.ndarray
    cluster: np.ndarray

    @property
    def n(self) -> int:
        """How many records are both scored and rated."""
        return len(self.predicted)

    @property
    def pass_fail(self) -> bool:
        """Whether the scale is 0 (fail) and 1 (pass)."""
        return self.scale.tolist() == [0.0, 1.0]

    @property
    def majority(self) -> np.ndarray:
        """What most raters said on a pass/fail scale, (n,): 1, 0, or NaN where they are even."""
        return np.where(self.rated == 0.5, np.nan, (self.rated > 0.5).astype(float))

    @property
    def predicted_step(self) -> np.ndarray:
        """Place on the scale nearest to the expected score, (n,); halfway goes up."""
        return nearest_step(self.predicted, self.scale)

    @property
    def rated_step(self) -> np.ndarray:
        """Place on the scale nearest to the mean rating, (n,); halfway goes up."""
        return nearest_step(self.rated, self.scale)

    def take(self, rows: np.ndarray) -> DimensionArrays:
        """The given rows, in that order; a row may come more than once."""
        return replace(
            self,
            predicted=self.predicted[rows],
            rated=self.rated[rows],
            distribution=self.distribution[rows],
            ratings=self.ratings[rows],
            cluster=self.cluster[rows],
        )


def nearest_step(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Index into `scale` (K,) of the score nearest to each value, (n,); halfway goes up."""
    return np.searchsorted((scale[1:] + scale[:-1]) / 2, values, side="right")


def cluster_names(predictions: Iterable[Prediction]) -> dict[tuple[str, str], int]:
    """Number every cluster, in an order that does not depend on the order of the predictions.

    A record without a group is a cluster of its own, so the key says which of the two it is.
    """
    members = {(one.group, one.id if one.group is None else "") for one in predictions}
    names = {("id", name) if group is None else ("group", group) for group, name in members}
    return {name: number for number, name in enumerate(sorted(names))}


def cluster_key(prediction: Prediction) -> tuple[str, str]:
    """`("group", name)`, or `("id", id)` for a record without a group."""
    if prediction.group is None:
        return ("id", prediction.id)
    return ("group", prediction.group)


def clusters_of(
    predictions: Sequence[Prediction], clusters: dict[tuple[str, str], int]
) -> np.ndarray:
    """The number of each prediction's cluster, (n,)."""
    return np.array([clusters[cluster_key(p)] for p in predictions], dtype=np.intp)


def dimension_arrays(
    dimension: str,
    predictions: Sequence[Prediction],
    clusters: dict[tuple[str, str], int],
) -> DimensionArrays:
    """Arrays of those of one dimension's `predictions` that are both scored and rated.

    Raises ValueError when the predictions do not share one scale.
    """
    kept = [p for p in predictions if p.scored and p.mean_rating is not None]
    scale = shared_scale(dimension, predictions)
    blank = (float("nan"),) * len(scale)
    distribution = np.array([p.distribution or blank for p in kept], dtype=float)
    return DimensionArrays(
        dimension=dimension,
        scale=scale,
        predicted=np.array([p.expected for p in kept], dtype=float),
        rated=np.array([p.mean_rating for p in kept], dtype=float),
        distribution=distribution.reshape(len(kept), len(scale)),
        ratings=rating_matrix(kept),
        cluster=clusters_of(kept, clusters),
    )


def shared_scale(dimension: str, predictions: Sequence[Prediction]) -> np.ndarray:
    """The one scale of a dimension's predictions, (K,); empty when there is no prediction."""
    scales = {p.scale for p in predictions}
    if len(scales) > 1:
        listed = " and ".join(str(list(scale)) for scale in sorted(scales))
        raise ValueError(
            f"dimension '{dimension}' is predicted on different scales: {listed}; "
            "evaluate them as separate dimensions"
        )
    return np.array(next(iter(scales), ()), dtype=float)


def rating_matrix(predictions: Sequence[Prediction]) -> np.ndarray:
    """Ratings with one row a prediction and one column a rater's place, NaN where missing."""
    rows = [p.ratings for p in predictions]
    places = max(map(len, rows), default=0)
    rows = [row if len(row) == places else row + (None,) * (places - len(row)) for row in rows]
    # None becomes NaN in an array of floats.
    return np.array(rows, dtype=float).reshape(len(rows), places)
