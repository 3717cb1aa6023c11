"""The value of a metric in a bootstrap draw equals the metric of the resampled records."""

from collections.abc import Callable

import numpy as np
import pytest

from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    DrawnMetric,
    Metric,
    UndefinedError,
    all_over_draws,
    metric_name,
    values_over_draws,
)
from dramaeval.evaluation.metrics.standard import STANDARD

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
PASS_FAIL = (0.0, 1.0)
ON_PASS_FAIL_ONLY = ("auroc", "balanced_accuracy", "f1")
CASES = [
    pytest.param(metric, scale, id=f"{metric_name(metric)}-{len(scale)}")
    for metric in STANDARD
    for scale in (FIVE, PASS_FAIL)
    if scale == PASS_FAIL or metric_name(metric) not in ON_PASS_FAIL_ONLY
]


@pytest.mark.parametrize(("metric", "scale"), CASES)
@pytest.mark.parametrize(("n", "clusters"), [(40, 12), (5, 4)])
def test_values_over_draws_equal_the_metric_of_the_resampled_records(
    metric: Metric,
    scale: tuple[float, ...],
    n: int,
    clusters: int,
    random_arrays: Callable[..., DimensionArrays],
    drawn_rows: Callable[[DimensionArrays, np.ndarray], np.ndarray],
) -> None:
    of = random_arrays(seed=7, n=n, clusters=clusters, scale=scale)
    draws = bootstrap_draws(clusters, 100, seed=2)
    assert isinstance(metric, DrawnMetric)
    result = metric.over_draws(of, draws)
    assert result is not None
    defined = 0
    for counts, value in zip(draws.counts, result, strict=True):
        rows = drawn_rows(of, counts)
        try:
            expected = metric(of.take(rows))
        except UndefinedError:
            # With fewer than three records a draw may still have a value; only the whole sample needs three.
            assert np.isnan(value) or len(rows) < 3
            continue
        defined += 1
        assert value == pytest.approx(expected, abs=1e-9)
    assert defined >= 50 or n == 5


def test_metrics_computed_together_have_the_values_of_single_ones(
    random_arrays: Callable[..., DimensionArrays],
) -> None:
    several = [random_arrays(seed=seed, n=30, clusters=9, scale=PASS_FAIL) for seed in (1, 2)]
    draws = bootstrap_draws(9, 50, seed=3)
    pairs = [(metric, of) for metric in (*STANDARD, mean_rating) for of in several]
    for (metric, of), result in zip(pairs, all_over_draws(pairs, draws), strict=True):
        expected = values_over_draws(metric, of, draws)
        np.testing.assert_allclose(result, expected, rtol=1e-12, err_msg=metric_name(metric))


def mean_rating(arrays: DimensionArrays) -> float:
    """A custom metric, computed draw by draw."""
    return float(arrays.rated.mean())


def test_a_draw_without_records_is_not_a_number(
    random_arrays: Callable[..., DimensionArrays],
) -> None:
    of = random_arrays(seed=1, n=20, clusters=3, scale=(0.0, 1.0))
    draws = bootstrap_draws(4, 1, seed=0)
    draws.counts[:] = [[0, 0, 0, 4]]  # the fourth cluster has no record of this dimension
    for metric in STANDARD:
        assert isinstance(metric, DrawnMetric)
        values = metric.over_draws(of, draws)
        assert values is not None
        assert np.isnan(values).all(), metric_name(metric)
