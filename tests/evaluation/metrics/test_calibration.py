"""Calibration error and spreads, compared with values by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.calibration import (
    CalibrationError,
    PredictedSpread,
    RaterSpread,
    SpreadCorrelation,
    calibration_curve,
    rater_shares,
)
from dramaeval.evaluation.metrics.metric import UndefinedError

NAN = float("nan")


def test_rater_shares_leave_out_missing_ratings_and_divide_values_between_points() -> None:
    ratings = np.array([[1, 1, 2, NAN], [2, 2.5, NAN, NAN]])
    shares = rater_shares(ratings, np.array([1.0, 2.0, 3.0]))
    assert shares == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2]]))


def test_calibration_error_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Score 1: 0.82 and 0.88 are in one bin, with shares of raters 1 and 1/2: |1.70 - 1.5| = 0.2.
    #          0.25 is alone in its bin, share 0: 0.25.      Σ = 0.45
    # Score 0: 0.18 and 0.12 are in one bin, shares 0 and 1/2: |0.30 - 0.5| = 0.2.
    #          0.75 is alone in its bin, share 1: 0.25.      Σ = 0.45
    # Three records, two scores: (0.45 + 0.45) / 3 / 2 = 0.15.
    of = make_arrays(
        [0.82, 0.88, 0.25],
        ratings=[[1, 1], [1, 0], [0, NAN]],
        distribution=[[0.18, 0.82], [0.12, 0.88], [0.75, 0.25]],
        scale=(0, 1),
    )
    assert CalibrationError()(of) == pytest.approx(0.15)
    curve = calibration_curve(of)
    assert [(point.low, point.high, point.n) for point in curve] == [
        (0.1, 0.2, 2),
        (0.2, pytest.approx(0.3), 1),
        (0.7, 0.8, 1),
        (0.8, 0.9, 2),
    ]
    assert [point.stated for point in curve] == pytest.approx([0.15, 0.25, 0.75, 0.85])
    assert [point.share for point in curve] == pytest.approx([0.25, 0, 1, 0.75])


def test_a_certain_and_right_judge_is_calibrated(
    make_arrays: Callable[..., DimensionArrays],
) -> None:
    # A probability of exactly 1 belongs to the last bin.
    of = make_arrays([1, 0], [1, 0], distribution=[[0, 1], [1, 0]], scale=(0, 1))
    assert CalibrationError()(of) == 0


def test_spreads_of_judge_and_raters_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Variances of the distributions: 4 for half at 1 and half at 5, 0 for all at 3, none for the third, which has no
    # distribution. Variances of the raters: 2 for 1 and 3, 0 for 2 2 2, none for a single rating.
    of = make_arrays(
        [3, 3, 4],
        ratings=[[1, 3, NAN], [2, 2, 2], [NAN, NAN, 4]],
        distribution=[[0.5, 0, 0, 0, 0.5], [0, 0, 1, 0, 0], [NAN] * 5],
    )
    assert PredictedSpread()(of) == pytest.approx(math.sqrt((4 + 0) / 2))
    assert RaterSpread()(of) == pytest.approx(math.sqrt((2 + 0) / 2))


def test_spread_correlation_by_hand(make_arrays: Callable[..., DimensionArrays]) -> None:
    # Standard deviations of the judge 0, 1, 2; of the raters 0, √2 (2 and 4), √2 (3 and 5).
    # Deviations -1 0 1 and (-2 1 1)·√2/3: Σdxdy = √2, Σdx² = 2, Σdy² = 6·2/9 = 4/3.
    of = make_arrays(
        [3, 3, 3],
        ratings=[[3, 3], [2, 4], [3, 5]],
        distribution=[[0, 0, 1, 0, 0], [0, 0.5, 0, 0.5, 0], [0.5, 0, 0, 0, 0.5]],
    )
    assert SpreadCorrelation()(of) == pytest.approx(math.sqrt(2) / math.sqrt(2 * 4 / 3))


def test_numbers_without_distributions_have_no_calibration(
    make_arrays: Callable[..., DimensionArrays],
) -> None:
    of = make_arrays([1, 2, 3], ratings=[[1, 2], [2, 2], [3, 1]])
    for metric in (CalibrationError(), PredictedSpread()):
        with pytest.raises(UndefinedError, match="numbers without distributions"):
            metric(of)
    with pytest.raises(UndefinedError, match="under 3 records"):
        SpreadCorrelation()(of)
    with pytest.raises(UndefinedError, match="two raters"):
        RaterSpread()(make_arrays([1, 2], [1, 2]))
