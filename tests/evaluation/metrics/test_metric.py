"""A custom metric: a function named in YAML that returns a number or raises UndefinedError."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics import metric as seam
from dramaeval.evaluation.metrics.metric import (
    MetricError,
    UndefinedError,
    metric_name,
    value_of,
    values_over_draws,
)
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.standard import STANDARD, with_standard


def within_one(arrays: DimensionArrays, *, limit: float = 1.0) -> float:
    return float((abs(arrays.predicted - arrays.rated) <= limit).mean())


def test_a_function_can_be_a_metric(make_arrays: Callable[..., DimensionArrays]) -> None:
    of = make_arrays([1, 2, 5], [2, 2, 2])
    assert value_of(within_one, of) == pytest.approx(2 / 3)
    assert metric_name(within_one) == "within_one"
    assert value_of(partial(within_one, limit=3), of) == 1
    assert metric_name(partial(within_one, limit=3)) == "within_one"


def test_metrics_can_be_given_in_yaml(make_arrays: Callable[..., DimensionArrays]) -> None:
    section = OmegaConf.create(
        """
        - _target_: tests_metric_of_mine.agreeing
          _partial_: true
          tolerance: 0.5
        - _target_: dramaeval.evaluation.metrics.score_errors.Concordance
        """
    )
    import sys
    from types import ModuleType

    module = ModuleType("tests_metric_of_mine")

    def agreeing(arrays: DimensionArrays, tolerance: float) -> float:
        return within_one(arrays, limit=tolerance)

    module.agreeing = agreeing  # type: ignore[attr-defined]  # a module made for this test
    sys.modules["tests_metric_of_mine"] = module
    try:
        mine, concordance = instantiate(section)
    finally:
        del sys.modules["tests_metric_of_mine"]
    of = make_arrays([1, 2, 3], [2, 2, 3.4])
    assert (metric_name(mine), metric_name(concordance)) == ("agreeing", "ccc")
    assert value_of(mine, of) == pytest.approx(2 / 3)
    assert "agreeing" in with_standard([mine])


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_metric_without_a_number_is_undefined(
    make_arrays: Callable[..., DimensionArrays], value: float | None
) -> None:
    with pytest.raises(UndefinedError, match="the metric gave"):
        value_of(lambda arrays: value, make_arrays([1], [1]))


def _divides_by_zero(arrays: DimensionArrays) -> float:
    return 1 / (arrays.n - arrays.n)


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        (
            _divides_by_zero,
            r"_divides_by_zero raised ZeroDivisionError: division by zero \(.*test_metric.py:\d+\)",
        ),
        (lambda arrays: arrays.nothing, "raised AttributeError: .*'nothing'"),
        (lambda arrays: "good", "returned 'good', which is no number"),
        (lambda arrays: [1.0, 2.0], r"returned \[1.0, 2.0\], which is no number"),
        (lambda arrays: arrays.predicted, "which is no number"),
    ],
)
def test_a_metric_that_fails_is_named(
    make_arrays: Callable[..., DimensionArrays], metric: Callable[..., float], problem: str
) -> None:
    arrays = make_arrays([1, 2, 5], [2, 2, 2])
    with pytest.raises(MetricError, match=f"The metric .*{problem}"):
        value_of(metric, arrays)
    with pytest.raises(MetricError, match=f"The metric .*{problem}"):
        values_over_draws(metric, arrays, bootstrap_draws(3, 5, 0))


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two metrics are called 'pearson'"):
        with_standard([Pearson()])
    assert list(with_standard([within_one])) == [*map(metric_name, STANDARD), "within_one"]


@pytest.mark.parametrize("name", ["records", "n", "undefined", "interval", "system_level"])
def test_a_metric_with_the_name_of_another_result_is_refused(name: str) -> None:
    def mine(arrays: DimensionArrays) -> float:
        return 1.0

    mine.__name__ = name
    with pytest.raises(ValueError, match=f"a metric is called '{name}'"):
        with_standard([mine])


def test_a_function_is_called_for_each_draw_unless_there_are_too_many_rows(
    random_arrays: Callable[..., DimensionArrays], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = random_arrays(seed=3, n=30, clusters=8)
    draws = bootstrap_draws(8, 60, seed=1)

    def pearson_by_numpy(arrays: DimensionArrays) -> float | None:
        if len(np.unique(arrays.predicted)) < 2 or len(np.unique(arrays.rated)) < 2:
            return None
        return float(np.corrcoef(arrays.predicted, arrays.rated)[0, 1])

    result = values_over_draws(pearson_by_numpy, of, draws)
    assert result is not None
    np.testing.assert_allclose(result, Pearson().over_draws(of, draws), atol=1e-9)
    monkeypatch.setattr(seam, "ROWS_RESAMPLED", 30 * 60 - 1)
    assert values_over_draws(pearson_by_numpy, of, draws) is None
