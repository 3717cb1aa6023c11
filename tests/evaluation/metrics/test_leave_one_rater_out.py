"""The human ceiling, compared with values by hand; raters without a defined correlation are left out."""

import math

import numpy as np
import pytest

from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.metrics.leave_one_rater_out import (
    leave_one_rater_out,
    pearson_ceiling_over_draws,
)

NAN = float("nan")
# Two raters agree; the third exchanges the ratings of neighbours.
THREE = np.array([[1, 1, 2], [2, 2, 1], [3, 3, 4], [4, 4, 3]], dtype=float)
# First and second: 1 2 3 4 against 1.5 1.5 3.5 3.5: Σdxdy = 4, Σdx² = 5, Σdy² = 4, r = 4/√20.
# Third: 2 1 4 3 against 1 2 3 4: Σdxdy = 3, Σdx² = Σdy² = 5, r = 3/5. The ranks are the same.
EACH = (4 / math.sqrt(20), 4 / math.sqrt(20), 3 / 5)


def test_the_ceiling_of_three_raters_by_hand() -> None:
    ceiling = leave_one_rater_out(THREE)
    assert ceiling["pearson_each"] == pytest.approx(EACH)
    assert ceiling["spearman_each"] == pytest.approx(EACH)
    assert ceiling["pearson"] == pytest.approx(sum(EACH) / 3)
    assert (ceiling["raters"], ceiling["n"]) == (3, 4)


def test_missing_ratings_are_left_out_of_the_mean_of_the_others() -> None:
    # Only the first rater rated the last record; the third rater rated no record.
    ratings = np.array([[1, 3, NAN], [2, 2, NAN], [3, 1, NAN], [5, NAN, NAN]])
    ceiling = leave_one_rater_out(ratings)
    assert ceiling["pearson_each"] == [pytest.approx(-1), pytest.approx(-1), None]
    assert ceiling["pearson"] == pytest.approx(-1)
    assert (ceiling["raters"], ceiling["n"]) == (2, 3)


def test_raters_without_variation_are_left_out() -> None:
    # The second rater always rates 3 and has no correlation; the others have one.
    ratings = np.array([[1, 3, 1], [2, 3, 2], [3, 3, 3]], dtype=float)
    ceiling = leave_one_rater_out(ratings)
    # First against (3 + third)/2 = 2, 2.5, 3: r = 1.
    assert ceiling["pearson_each"] == [pytest.approx(1), None, pytest.approx(1)]
    assert ceiling["pearson"] == pytest.approx(1)


def test_without_a_second_rater_there_is_no_ceiling() -> None:
    for ratings in (np.empty((0, 3)), np.full((4, 2), NAN), np.array([[1.0], [2.0], [3.0]])):
        ceiling = leave_one_rater_out(ratings)
        assert ceiling["pearson"] is None
        assert ceiling["spearman"] is None
        assert ceiling["raters"] == 0


def test_draws_are_the_ceiling_of_resampled_records() -> None:
    generator = np.random.default_rng(0)
    ratings = np.rint(3 + generator.normal(size=(30, 1)) + generator.normal(size=(30, 4)))
    ratings[generator.random(ratings.shape) < 0.2] = NAN
    cluster = generator.integers(10, size=30)
    draws = bootstrap_draws(10, 50, seed=1)
    for counts, value in zip(
        draws.counts, pearson_ceiling_over_draws(ratings, cluster, draws), strict=True
    ):
        resampled = leave_one_rater_out(np.repeat(ratings, counts[cluster], axis=0))
        assert value == pytest.approx(resampled["pearson"])
