"""Fixtures that build arrays and predictions, and the rows of a bootstrap draw."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.predictions import Prediction

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
PASS_FAIL = (0.0, 1.0)


def arrays(
    predicted: Sequence[float],
    rated: Sequence[float] | None = None,
    *,
    ratings: Sequence[Sequence[float]] | None = None,
    distribution: Sequence[Sequence[float]] | None = None,
    scale: Sequence[float] = FIVE,
    cluster: Sequence[int] | None = None,
) -> DimensionArrays:
    """Arrays with one rater, whose ratings are `rated`, or with `ratings` and their means."""
    if ratings is None:
        ratings = [[value] for value in rated or []]
    table = np.array(ratings, dtype=float).reshape(
        len(predicted), len(ratings[0]) if ratings else 0
    )
    given = (~np.isnan(table)).sum(axis=1)
    if distribution is None:
        distribution = [[np.nan] * len(scale)] * len(predicted)
    return DimensionArrays(
        dimension="trait_embodiment",
        scale=np.array(scale, dtype=float),
        predicted=np.array(predicted, dtype=float),
        rated=np.nansum(table, axis=1) / given,
        distribution=np.array(distribution, dtype=float).reshape(len(predicted), len(scale)),
        ratings=table,
        cluster=np.arange(len(predicted)) if cluster is None else np.array(cluster),
    )


def prediction(
    name: str,
    expected: float | None,
    ratings: Sequence[float | None],
    *,
    dimension: str = "trait_embodiment",
    scale: tuple[float, ...] = FIVE,
    distribution: tuple[float, ...] | None = None,
    state: str | None = None,
    group: str | None = None,
    system: str | None = None,
) -> Prediction:
    """A prediction, scored when it has an expected score."""
    return Prediction(
        id=name,
        dimension=dimension,
        scale=scale,
        distribution=distribution,
        expected=expected,
        ratings=tuple(ratings),
        state=state or ("scored" if expected is not None else "no answer"),
        group=group,
        system=system,
    )


@pytest.fixture
def make_arrays() -> Callable[..., DimensionArrays]:
    return arrays


@pytest.fixture
def make_prediction() -> Callable[..., Prediction]:
    return prediction


@pytest.fixture
def drawn_rows() -> Callable[[DimensionArrays, np.ndarray], np.ndarray]:
    """A function that returns the rows of a draw; a row is repeated as often as its cluster is drawn."""

    def rows(arrays: DimensionArrays, counts: np.ndarray) -> np.ndarray:
        copies = [row for row in range(arrays.n) for _ in range(int(counts[arrays.cluster[row]]))]
        return np.array(copies, dtype=int)

    return rows


@pytest.fixture
def random_arrays() -> Callable[..., DimensionArrays]:
    """A function that builds random arrays with clusters, ties in scores and ratings, and missing ratings."""

    def make(
        *, seed: int, n: int = 40, clusters: int = 12, scale: Sequence[float] = FIVE
    ) -> DimensionArrays:
        generator = np.random.default_rng(seed)
        truth = generator.normal(size=n)
        middle, width = np.mean(scale), (scale[-1] - scale[0]) / 4
        noisy = middle + width * (truth[:, None] + generator.normal(size=(n, 4)))
        ratings = np.clip(np.rint(noisy), scale[0], scale[-1])
        ratings[:, 1:][generator.random((n, 3)) < 0.3] = np.nan
        # Rounding to a tenth makes ties among the predictions.
        centre = np.round(middle + width * (truth + generator.normal(size=n)), 1)
        weights = np.exp(-((np.array(scale) - centre[:, None]) ** 2))
        distribution = weights / weights.sum(axis=1, keepdims=True)
        return arrays(
            np.round(distribution @ np.array(scale), 1).tolist(),
            ratings=ratings.tolist(),
            distribution=distribution.tolist(),
            scale=scale,
            cluster=generator.integers(clusters, size=n).tolist(),
        )

    return make
