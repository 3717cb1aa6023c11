"""Accuracy and quadratic weighted kappa, compared with values by hand; halves are rounded up."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from dramaeval.evaluation.dimension_arrays import DimensionArrays, nearest_step
from dramaeval.evaluation.metrics.metric import UndefinedError
from dramaeval.evaluation.metrics.rounded_scores import Accuracy, QuadraticWeightedKappa


def test_halves_are_rounded_up_within_the_scale() -> None:
    scale = np.array([1.0, 2.0, 3.0])
    values = np.array([0.9, 1.0, 1.49, 1.5, 2.4, 2.5, 3.0001])
    assert nearest_step(values, scale).tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_accuracy_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # 1.4→1 = 1, 3.5→4 = 4, 2.5→3 ≠ 2, 4.49→4 = 3.5→4: three of four.
    assert Accuracy()(make_arrays([1.4, 3.5, 2.5, 4.49], [1, 4, 2, 3.5])) == 3 / 4


def test_kappa_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Judge 1 2 3, raters 1 2 2. Observed Σ(i-j)² = 1. By chance, judge's margins 1 1 1 against
    # raters' 1 2 0: (1·2 + 1·1 + 4·1 + 1·2) / 3 = 3. kappa = 1 - 1/3.
    of = make_arrays([1, 2, 3], [1, 2, 2], scale=(1, 2, 3))
    assert QuadraticWeightedKappa()(of) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(4))
def test_kappa_equals_that_of_scikit_learn(
    make_arrays: Callable[..., DimensionArrays], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rated = rng.integers(1, 6, 50)
    judged = np.clip(rated + rng.integers(-1, 3, 50), 1, 5)
    expected = cohen_kappa_score(judged, rated, labels=[1, 2, 3, 4, 5], weights="quadratic")
    of = make_arrays(judged.tolist(), rated.tolist())
    assert QuadraticWeightedKappa()(of) == pytest.approx(expected)


def test_kappa_is_undefined_if_judge_and_raters_give_only_one_score(
    make_arrays: Callable[..., DimensionArrays],
) -> None:
    with pytest.raises(UndefinedError, match="the same score"):
        QuadraticWeightedKappa()(make_arrays([2.9, 3.1, 3.2], [3, 3, 3]))
    # If only the judge is constant, kappa is 0.
    assert QuadraticWeightedKappa()(make_arrays([3, 3, 3], [2, 3, 4])) == pytest.approx(0)
