"""Pearson's r, compared with values by hand, and inputs for which it is undefined."""

import math
from collections.abc import Callable

import pytest

from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import UndefinedError
from dramaeval.evaluation.metrics.pearson import Pearson


def test_pearson_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Deviations -1.5 -0.5 0.5 1.5 and -1 -1 1 1: Σdxdy = 4, Σdx² = 5, Σdy² = 4, r = 4/√20.
    assert Pearson()(make_arrays([1, 2, 3, 4], [2, 2, 4, 4])) == pytest.approx(4 / math.sqrt(20))
    assert Pearson()(make_arrays([1, 2, 3], [5, 4, 3])) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("predicted", "rated", "reason"),
    [
        ([], [], "no record is both scored and rated"),
        ([3.0], [4.0], "only 1 record is both scored and rated; at least 3"),
        ([3.0, 4.0], [3.0, 4.0], "only 2 records are both scored and rated; at least 3"),
        ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0], "the judge gave every record the same score"),
        # The scores differ only by the rounding of a softmax.
        ([3.0, 3.0 + 4e-16, 3.0], [1.0, 2.0, 3.0], "the judge gave every record the same score"),
        ([1.0, 2.0, 3.0], [4.0, 4.0, 4.0], "the raters' mean is the same for every record"),
    ],
)
def test_pearson_is_undefined_for_few_or_constant_values(
    make_arrays: Callable[..., DimensionArrays],
    predicted: list[float],
    rated: list[float],
    reason: str,
) -> None:
    with pytest.raises(UndefinedError, match=reason):
        Pearson()(make_arrays(predicted, rated))
