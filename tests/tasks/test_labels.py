"""Label policies by hand; a missing rating takes no part in any."""

import numpy as np
import pytest

from dramaeval.tasks.labels import between, distribution, mean, median, sample

SCALE = (1, 2, 3, 4, 5)
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("policy", "ratings", "expected"),
    [
        (distribution, [1, 1, 2, 5], [0.5, 0.25, 0, 0, 0.25]),
        (distribution, [4, None, 4, None, 5], [0, 0, 0, 2 / 3, 1 / 3]),
        (mean, [4, 4, 5, None], [0, 0, 0, 2 / 3, 1 / 3]),  # 13/3 = 4 + 1/3
        (mean, [1, 5], [0, 0, 1, 0, 0]),
        (median, [1, 2, 5, None], [0, 1, 0, 0, 0]),
        (median, [2, 3, 5, 4], [0, 0, 0.5, 0.5, 0]),  # 3.5
        (sample, [None, 2, None], [0, 1, 0, 0, 0]),
    ],
)
def test_policies(policy, ratings, expected):
    np.testing.assert_allclose(policy(ratings, SCALE, RNG), expected, atol=1e-12)


@pytest.mark.parametrize("policy", [distribution, mean, median, sample])
def test_nobody_rated(policy):
    assert policy([None, None], SCALE, RNG) is None
    assert policy([], SCALE, RNG) is None


def test_samples_come_as_often_as_raters_gave_them():
    rng = np.random.default_rng(1)
    drawn = sum(sample([1, 1, 4, None], SCALE, rng) for _ in range(3000)) / 3000
    # 2/3 and 1/3, within four standard errors of 0.0086
    np.testing.assert_allclose(drawn, [2 / 3, 0, 0, 1 / 3, 0], atol=0.035)


def test_the_same_generator_draws_the_same():
    draws = [sample([1, 2, 3, 4, 5], SCALE, np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(*draws)


def test_pass_and_fail():
    np.testing.assert_allclose(distribution([1, 1, 0, None], (0, 1), RNG), [1 / 3, 2 / 3])


def test_off_the_scale():
    with pytest.raises(ValueError, match="6 lies off the scale"):
        between(6, SCALE)


def test_between_keeps_the_mean_on_an_uneven_scale():
    assert between(4, (0, 2, 10)) @ np.array([0, 2, 10]) == pytest.approx(4)
