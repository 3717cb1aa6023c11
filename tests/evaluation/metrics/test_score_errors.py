"""Squared and absolute error, bias, variance ratio and concordance, compared with values by hand."""

from collections.abc import Callable

import pytest

from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import UndefinedError
from dramaeval.evaluation.metrics.score_errors import (
    Bias,
    Concordance,
    MeanAbsoluteError,
    MeanSquaredError,
    VarianceRatio,
)


def test_squared_absolute_and_signed_errors_by_hand(
    make_arrays: Callable[..., DimensionArrays],
) -> None:
    of = make_arrays([1, 2.5, 5], [2, 2, 2])  # errors -1, 0.5, 3
    assert MeanSquaredError()(of) == pytest.approx((1 + 0.25 + 9) / 3)
    assert MeanAbsoluteError()(of) == pytest.approx((1 + 0.5 + 3) / 3)
    assert Bias()(of) == pytest.approx((-1 + 0.5 + 3) / 3)


@pytest.mark.parametrize("metric", [MeanSquaredError(), MeanAbsoluteError(), Bias()])
def test_errors_without_records_have_no_value(
    make_arrays: Callable[..., DimensionArrays], metric: Callable[[DimensionArrays], float]
) -> None:
    with pytest.raises(UndefinedError, match="no record is both scored and rated"):
        metric(make_arrays([], []))


def test_variance_ratio_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Variances 2/3 and 8/3.
    assert VarianceRatio()(make_arrays([2, 3, 4], [1, 3, 5])) == pytest.approx(1 / 4)
    assert VarianceRatio()(make_arrays([3, 3, 3], [1, 3, 5])) == 0
    with pytest.raises(UndefinedError, match="raters' mean is the same"):
        VarianceRatio()(make_arrays([1, 3, 5], [3, 3, 3]))


def test_concordance_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # All scores are too low by 1: cov = var = 2/3, so 2·(2/3) / (2/3 + 2/3 + 1) = 4/7.
    assert Concordance()(make_arrays([1, 2, 3], [2, 3, 4])) == pytest.approx(4 / 7)
    # If only the scores are constant, the concordance is 0.
    assert Concordance()(make_arrays([3, 3, 3], [1, 2, 3])) == 0
    with pytest.raises(UndefinedError, match="the same score"):
        Concordance()(make_arrays([3, 3, 3], [3, 3, 3]))
