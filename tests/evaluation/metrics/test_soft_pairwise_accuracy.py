"""Soft pairwise accuracy: p-values over all sign patterns and their comparison, with values by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from dramaeval.evaluation.metrics.soft_pairwise_accuracy import (
    paired_p_value,
    random_signs,
    soft_pairwise_accuracy,
    superiority,
    welch_p_value,
)

NAN = float("nan")


def every_sign(groups: int) -> np.ndarray:
    return np.array(list(product([1.0, -1.0], repeat=groups)))


def test_paired_p_value_by_hand() -> None:
    # The sums of ±3 ±1 are 4, 2, -2, -4. Of these four, none is above the observed 4 and one is equal, which counts half.
    assert paired_p_value(np.array([3.0, 1.0]), every_sign(2)) == 1 / 8
    # Observed 2: one above, one equal.
    assert paired_p_value(np.array([3.0, -1.0]), every_sign(2)) == 3 / 8
    # Five equal differences: one of 32 patterns reaches the sum, despite rounding.
    assert paired_p_value(np.array([0.6] * 5), every_sign(5)) == 1 / 64


def test_the_p_value_of_the_opposite_comparison_is_one_minus_the_p_value() -> None:
    differences = np.array([1.0, 0, -2, 1, 1, 0, 3])
    p_value = paired_p_value(differences, every_sign(7))
    assert p_value + paired_p_value(-differences, every_sign(7)) == 1
    assert paired_p_value(np.zeros(7), every_sign(7)) == 1 / 2


def test_accuracy_by_hand() -> None:
    rated = np.array([[NAN, 0.1, 0.5], [NAN, NAN, 0.9], [NAN, NAN, NAN]])
    predicted = np.array([[NAN, 0.3, 0.0], [NAN, NAN, NAN], [NAN, NAN, NAN]])
    # |0.1-0.3| = 0.2, |0.5-0| = 0.5, the third pair has no p-value: 1 - 0.35.
    assert soft_pairwise_accuracy(rated, predicted) == pytest.approx(0.65)
    assert np.isnan(soft_pairwise_accuracy(rated, np.full((3, 3), NAN)))


def test_systems_with_enough_common_groups_are_compared_in_pairs() -> None:
    generator = np.random.default_rng(0)
    cells = generator.normal(size=(4, 40))
    cells[0] += 1
    cells[2, :31] = NAN  # shares nine groups with the others: one too few
    cells[3, 1:] = NAN  # one group only: nothing to compare
    result = superiority(cells, random_signs(40, seed=1))
    assert result.paired[0, 1]
    assert not result.paired[0, 2]
    assert np.isnan(result.p[:, 3]).all()
    assert np.isnan(np.diag(result.p)).all()
    # The permutation test agrees with scipy's exact-size one within its own error.
    exact = stats.permutation_test(
        (cells[0], cells[1]),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(2),
    ).pvalue
    assert result.p[0, 1] == pytest.approx(exact, abs=0.01)
    unpaired = stats.ttest_ind(cells[0], cells[2, 31:], equal_var=False, alternative="greater")
    assert result.p[0, 2] == pytest.approx(unpaired.pvalue)


def test_p_values_of_systems_without_variance() -> None:
    assert welch_p_value(np.array([2.0, 2.0]), np.array([1.0, 1.0])) == 0
    assert welch_p_value(np.array([1.0, 1.0]), np.array([2.0, 2.0])) == 1
    assert welch_p_value(np.array([2.0, 2.0]), np.array([2.0, 2.0])) == 0.5
