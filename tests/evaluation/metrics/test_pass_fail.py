"""AUROC, balanced accuracy and F1 with the majority of raters, compared with values by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import NotApplicableError, UndefinedError
from dramaeval.evaluation.metrics.pass_fail import F1, Auroc, BalancedAccuracy

NAN = float("nan")


@pytest.fixture
def mixed(make_arrays: Callable[..., DimensionArrays]) -> DimensionArrays:
    """Scores of two passed records (0.9, 0.4), three failed ones (0.4, 0.1, 0.6) and one with as many passes as fails."""
    ratings = [[1, 1, 0], [1, NAN, 1], [0, 0, 1], [0, 0, 0], [NAN, 0, NAN], [1, 0, NAN]]
    return make_arrays([0.9, 0.4, 0.4, 0.1, 0.6, 0.99], ratings=ratings, scale=(0, 1))


def test_auroc_by_hand(mixed: DimensionArrays) -> None:
    # Pairs of a passed and a failed record: 0.9 is higher in 3; 0.4 is equal (½), higher and lower: 4.5 of 6.
    assert Auroc()(mixed) == pytest.approx(4.5 / 6)


def test_balanced_accuracy_by_hand(mixed: DimensionArrays) -> None:
    # The judge passes 0.9 and 0.6: right on 1 of 2 passed and 2 of 3 failed.
    assert BalancedAccuracy()(mixed) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_f1_by_hand(mixed: DimensionArrays) -> None:
    # TP 1 (0.9), FP 1 (0.6), FN 1 (0.4): 2 / (2 + 1 + 1).
    assert F1()(mixed) == pytest.approx(1 / 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_metrics_equal_those_of_scikit_learn(
    make_arrays: Callable[..., DimensionArrays], seed: int
) -> None:
    """Scores are rounded, so that some are tied; so are the raters of some records."""
    rng = np.random.default_rng(seed)
    predicted = rng.random(60).round(1)
    ratings = (rng.random((60, 4)) < 0.3 + 0.5 * predicted[:, None]).astype(float)
    of = make_arrays(predicted.tolist(), ratings=ratings.tolist(), scale=(0, 1))
    clear = ratings.mean(axis=1) != 0.5
    truth, scores = ratings.mean(axis=1)[clear] > 0.5, predicted[clear]
    assert not clear.all()
    assert Auroc()(of) == pytest.approx(roc_auc_score(truth, scores))
    assert BalancedAccuracy()(of) == pytest.approx(balanced_accuracy_score(truth, scores >= 0.5))
    assert F1()(of) == pytest.approx(f1_score(truth, scores >= 0.5))


@pytest.mark.parametrize("metric", [Auroc(), BalancedAccuracy()])
@pytest.mark.parametrize(("rated", "reason"), [(1, "every record passed"), (0, "record failed")])
def test_a_single_verdict_has_no_value(
    make_arrays: Callable[..., DimensionArrays],
    metric: Callable[[DimensionArrays], float],
    rated: int,
    reason: str,
) -> None:
    with pytest.raises(UndefinedError, match=reason):
        metric(make_arrays([0.2, 0.8], [rated, rated], scale=(0, 1)))


@pytest.mark.parametrize("metric", [Auroc(), BalancedAccuracy(), F1()])
def test_without_a_clear_majority_there_is_no_value(
    make_arrays: Callable[..., DimensionArrays], metric: Callable[[DimensionArrays], float]
) -> None:
    with pytest.raises(UndefinedError, match="no record has a clear majority"):
        metric(make_arrays([0.2, 0.8], ratings=[[0, 1], [1, 0]], scale=(0, 1)))


def test_f1_when_nothing_passes(make_arrays: Callable[..., DimensionArrays]) -> None:
    with pytest.raises(UndefinedError, match="neither"):
        F1()(make_arrays([0.2, 0.3], [0, 0], scale=(0, 1)))
    assert F1()(make_arrays([0.2, 0.3], [0, 1], scale=(0, 1))) == 0


@pytest.mark.parametrize("metric", [Auroc(), BalancedAccuracy(), F1()])
def test_other_scales_are_not_supported(
    make_arrays: Callable[..., DimensionArrays], metric: Callable[[DimensionArrays], float]
) -> None:
    with pytest.raises(NotApplicableError):
        metric(make_arrays([1, 2], [1, 2], scale=(1, 2)))
