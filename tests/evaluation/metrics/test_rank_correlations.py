"""Spearman's rho and Kendall's tau-b with ties, compared with values by hand and with scipy."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from dramaeval.evaluation.bootstrap import BootstrapDraws, bootstrap_draws
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import UndefinedError
from dramaeval.evaluation.metrics.rank_correlations import (
    MOST_RECORDS,
    Kendall,
    Spearman,
    pair_signs,
)
from dramaeval.evaluation.metrics.ranks import TieGroups, doubled_deviations


def test_spearman_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Ranks 1 2.5 2.5 4 and 1 3.5 2 3.5, deviations -1.5 0 0 1.5 and -1.5 1 -0.5 1:
    # Σdxdy = 2.25 + 1.5 = 3.75, Σdx² = 4.5, Σdy² = 4.5, rho = 5/6.
    assert Spearman()(make_arrays([1, 2, 2, 3], [1, 3, 2, 3])) == pytest.approx(5 / 6)


def test_kendall_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Of six pairs four agree, one is tied only in x (2nd, 3rd) and one only in y (2nd, 4th):
    # tau-b = (4 - 0) / √((4+1)(4+1)) = 4/5.
    assert Kendall()(make_arrays([1, 2, 2, 3], [1, 3, 2, 3])) == pytest.approx(4 / 5)


@pytest.mark.parametrize("metric", [Spearman(), Kendall()])
def test_constant_input_has_no_value(
    make_arrays: Callable[..., DimensionArrays], metric: Callable[[DimensionArrays], float]
) -> None:
    with pytest.raises(UndefinedError, match="the judge gave every record the same score"):
        metric(make_arrays([2, 2, 2], [1, 2, 3]))
    with pytest.raises(UndefinedError, match="the raters' mean is the same"):
        metric(make_arrays([1, 2, 3], [2, 2, 2]))


def test_tie_groups_by_hand() -> None:
    # The values 7 5 7 9, repeated 2, 1, 0 and 3 times, are 5 7 7 9 9 9.
    groups = TieGroups(np.array([7.0, 5.0, 7.0, 9.0]))
    weights = np.array([[2.0, 1.0, 0.0, 3.0]])
    totals = groups.totals(weights[:, groups.order])
    assert totals.tolist() == [[1, 2, 3]]
    # The ranks are 1, 2.5, 2.5, 5, 5, 5, and their mean is 3.5.
    assert doubled_deviations(totals).tolist() == [[-5, -2, 3]]
    assert groups.group.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize("ties", [True, False])
def test_spearman_over_draws_equals_scipy_on_the_resampled_records(
    make_arrays: Callable[..., DimensionArrays], ties: bool
) -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=60)
    y = x + generator.normal(size=60)
    if ties:
        x, y = np.round(x), np.round(y)
    cluster = generator.integers(20, size=60)
    draws = bootstrap_draws(20, 200, seed=5)
    arrays = make_arrays(x.tolist(), y.tolist(), scale=(-9, 9), cluster=cluster)
    result = Spearman().over_draws(arrays, draws)
    for counts, value in zip(draws.counts, result, strict=True):
        rows = np.repeat(np.arange(60), counts[cluster])
        assert value == pytest.approx(stats.spearmanr(x[rows], y[rows]).statistic, abs=1e-12)


def test_a_draw_without_variation_is_not_a_number(
    make_arrays: Callable[..., DimensionArrays],
) -> None:
    of = make_arrays([1, 2, 3, 3], [4, 5, 5, 5])
    # The draws have only the first record, only the last two (with equal scores), and all records.
    draws = BootstrapDraws(np.array([[4, 0, 0, 0], [0, 0, 2, 2], [1, 1, 1, 1]]))
    for metric in (Spearman(), Kendall()):
        values = metric.over_draws(of, draws)
        assert values is not None
        assert np.isnan(values).tolist() == [True, True, False]
        assert values[2] == pytest.approx(metric(of))


def test_pair_signs_by_hand() -> None:
    # Cluster 0 has records 0 and 2, cluster 1 has record 1. The pair 0-1 agrees (+1); 0-2 and 1-2 disagree (-1 each).
    # Within cluster 0 both orders count: -2; between the clusters +1 - 1 = 0.
    signs = pair_signs(
        np.array([1.0, 2.0, 3.0]), np.array([2.0, 5.0, 1.0]), np.array([0, 1, 0]), clusters=2
    )
    assert signs.tolist() == [[-2, 0], [0, 0]]


def test_kendall_has_no_values_over_draws_for_too_many_records(
    make_arrays: Callable[..., DimensionArrays],
) -> None:
    n = MOST_RECORDS + 1
    of = make_arrays(np.linspace(1, 5, n).tolist(), np.linspace(1, 5, n).tolist())
    assert Kendall().over_draws(of, bootstrap_draws(n, 2, seed=0)) is None
    assert Kendall()(of) == pytest.approx(1)
