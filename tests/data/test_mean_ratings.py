"""The distribution of largest entropy with a given mean and, optionally, a spread: published values and properties."""

import numpy as np
import pytest

from dramaeval.data.mean_ratings import mean_distribution, std_bounds, std_is_possible

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)


def test_the_distribution_equals_published_values():
    # E. T. Jaynes, Where do we stand on maximum entropy? (1978): a die with the mean 4.5.
    expected = [0.05435, 0.07877, 0.11416, 0.16545, 0.23977, 0.34749]
    np.testing.assert_allclose(mean_distribution(tuple(range(1, 7)), 4.5), expected, atol=1e-5)
    np.testing.assert_allclose(mean_distribution(FIVE, 3.0), [0.2] * 5, atol=1e-9)


def test_three_points_are_determined_by_the_moments():
    # p1 + p2 + p3 = 1, p3 - p1 = 0.2, p1 + p3 = 0.56 + 0.2²
    found = mean_distribution((1, 2, 3), 2.2, 0.56**0.5)
    np.testing.assert_allclose(found, [0.2, 0.4, 0.4], atol=1e-9)


@pytest.mark.parametrize("points", [FIVE, (0, 1), (0, 2, 10), (1, 1.5, 2, 2.5, 3), range(101)])
def test_the_distribution_has_the_given_moments_and_exponential_form(points):
    x = np.array(points, dtype=float)
    points = tuple(x.tolist())
    for mean in x[0] + (x[-1] - x[0]) * np.array([0.001, 0.3, 0.5, 0.77, 0.9999]):
        low, high = std_bounds(points, mean)
        for std in (None, 0.4 * low + 0.6 * high, 0.9 * low + 0.1 * high):
            p = np.array(mean_distribution(points, float(mean), std))
            assert p.sum() == pytest.approx(1)
            assert p.min() >= 0
            assert p @ x == pytest.approx(mean, abs=1e-8 * (x[-1] - x[0]))
            if std is not None and len(x) > 2:
                assert np.sqrt(p @ (x - mean) ** 2) == pytest.approx(std, rel=1e-3)
            # If p is not too small, log p is a polynomial in x of degree 1, or of degree 2 with a spread.
            seen = p > 1e-200
            degree = 1 if std is None else 2
            if seen.sum() > degree + 1:
                fitted = np.polynomial.Polynomial.fit(x[seen], np.log(p[seen]), degree)
                np.testing.assert_allclose(fitted(x[seen]), np.log(p[seen]), atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (1, None, [1, 0, 0, 0, 0]),
        (5, 0, [0, 0, 0, 0, 1]),
        (5, 0.004, [0, 0, 0, 0, 1]),
        (3, 0, [0, 0, 1, 0, 0]),
        (3.25, 0.1875**0.5, [0, 0, 0.75, 0.25, 0]),
        (3.25, 0.43, [0, 0, 0.75, 0.25, 0]),  # 0.433 rounded down
        (4, 3**0.5, [0.25, 0, 0, 0, 0.75]),
        (4, 1.735, [0.25, 0, 0, 0, 0.75]),
    ],
)
def test_extreme_means_and_spreads_by_hand(mean, std, expected):
    np.testing.assert_allclose(mean_distribution(FIVE, mean, std), expected, atol=1e-9)


def test_impossible_means_and_spreads_are_refused():
    assert std_bounds(FIVE, 3.5) == pytest.approx((0.5, 3.75**0.5))
    assert not std_is_possible(FIVE, 3.5, 0.49)
    assert not std_is_possible(FIVE, 3.5, 1.95)
    assert not std_is_possible(FIVE, 5.0, 0.3)
    # 249 fives and a four: mean 4.996, standard deviation 0.063, both rounded.
    assert std_is_possible(FIVE, 5.0, 0.06)
    for mean, std in ((5.1, None), (0.9, 1.0), (3.0, 2.1)):
        with pytest.raises(ValueError, match="mean"):
            mean_distribution(FIVE, mean, std)
