"""Draws consist of whole clusters and depend on the seed; their intervals have the stated coverage."""

from collections.abc import Callable

import numpy as np
import pytest

from dramaeval.evaluation import bootstrap
from dramaeval.evaluation.bootstrap import (
    BootstrapDraws,
    bootstrap_draws,
    draws_for_intervals,
    interval,
)
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.score_errors import Bias


def test_each_draw_has_as_many_clusters_as_the_data() -> None:
    draws = bootstrap_draws(7, 50, seed=0)
    assert draws.counts.shape == (50, 7)
    assert (draws.counts.sum(axis=1) == 7).all()
    # Each cluster is drawn once per draw on average, and is missing from (6/7)^7 = 34 % of the draws.
    many = bootstrap_draws(7, 20_000, seed=0).counts
    assert many.mean(axis=0) == pytest.approx(np.ones(7), abs=0.03)
    assert (many == 0).mean() == pytest.approx((6 / 7) ** 7, abs=0.01)


def test_draws_depend_on_the_seed() -> None:
    assert (bootstrap_draws(9, 20, 1).counts == bootstrap_draws(9, 20, 1).counts).all()
    assert (bootstrap_draws(9, 20, 1).counts != bootstrap_draws(9, 20, 2).counts).any()


def test_sums_and_weights_of_draws_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = BootstrapDraws(np.array([[2, 0, 1], [1, 1, 1]]))
    cluster = np.array([0, 2, 0, 1])
    columns = np.array([[1.0, 10], [2, 20], [3, 30], [4, 40]])
    # The first draw has cluster 0 twice and cluster 2 once: 2·(1+3) + 2 = 10.
    assert draws.sums(cluster, columns).tolist() == [[10, 100], [10, 100]]
    assert [weights.tolist() for _, weights in draws.weights(cluster)] == [
        [[2, 1, 2, 0], [1, 1, 1, 1]]
    ]
    # Chunks of one draw give the same values.
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 1)
    assert draws.sums(cluster, columns).tolist() == [[10, 100], [10, 100]]
    assert [(rows.start, weights.tolist()) for rows, weights in draws.weights(cluster)] == [
        (0, [[2, 1, 2, 0]]),
        (1, [[1, 1, 1, 1]]),
    ]


def test_means_of_draws_by_hand() -> None:
    draws = BootstrapDraws(np.array([[2, 0, 1], [1, 1, 1], [0, 3, 0]]))
    # The first draw has the values 1 and 3 of cluster 0 twice, and 2 of cluster 2 once; no record is in cluster 1.
    means = draws.means(np.array([0, 2, 0]), np.array([1.0, 2, 3]))
    np.testing.assert_array_equal(means, [10 / 5, 6 / 3, np.nan])


def test_few_clusters_or_no_draws_give_no_intervals() -> None:
    drawn = draws_for_intervals(5, 20, seed=1)
    assert drawn is not None
    assert (drawn.counts == bootstrap_draws(5, 20, seed=1).counts).all()
    assert draws_for_intervals(4, 20, seed=1) is None
    assert draws_for_intervals(5, 0, seed=1) is None


def test_interval_by_hand() -> None:
    # The 5 % and 95 % quantiles of 0 … 100 are 5 and 95.
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def test_interval_needs_most_draws_to_be_defined() -> None:
    values = np.arange(100.0)
    values[:10] = np.nan
    assert interval(values, 0.9) is not None
    values[10] = np.nan
    assert interval(values, 0.9) is None
    assert interval(np.array([]), 0.9) is None


@pytest.mark.slow
def test_intervals_cover_a_known_correlation(make_arrays: Callable[..., DimensionArrays]) -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        x, noise = generator.normal(size=(2, 100))
        of = make_arrays(x.tolist(), (0.6 * x + 0.8 * noise).tolist())  # r = 0.6
        result = interval(Pearson().over_draws(of, bootstrap_draws(100, 400, trial)), 0.95)
        assert result is not None
        covered += result[0] <= 0.6 <= result[1]
    # 95 % ± 3 standard errors of 1.3 %; percentile intervals cover a little less.
    assert 0.90 <= covered / 300 <= 0.99


@pytest.mark.slow
def test_intervals_of_clustered_records_cover_only_if_whole_clusters_are_drawn(
    make_arrays: Callable[..., DimensionArrays],
) -> None:
    generator = np.random.default_rng(1)
    cluster = np.repeat(np.arange(30), 10)
    covered = {"clusters": 0, "records": 0}
    for trial in range(200):
        # The error is that of the character: 300 records have only 30 independent errors.
        error = generator.normal(size=30)[cluster] + 0.1 * generator.normal(size=300)
        for kind, number in (("clusters", cluster), ("records", np.arange(300))):
            of = make_arrays(error.tolist(), [0.0] * 300, cluster=number.tolist())
            draws = bootstrap_draws(len(np.unique(number)), 200, trial)
            result = interval(Bias().over_draws(of, draws), 0.95)
            assert result is not None
            covered[kind] += result[0] <= 0 <= result[1]
    assert covered["clusters"] / 200 >= 0.87
    assert covered["records"] / 200 <= 0.60
