"""System-level agreement, compared with values by hand: means, order of pairs, and undefined values."""

from collections.abc import Callable

import numpy as np
import pytest

from dramaeval.evaluation.dimension_arrays import cluster_names, dimension_arrays
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.systems import system_level


def evaluate(predictions: list[Prediction]) -> dict:
    of = dimension_arrays("trait_embodiment", predictions, cluster_names(predictions))
    result = system_level(predictions, of, seed=0)
    assert result is not None
    return result


def test_metrics_of_four_systems_by_hand(make_prediction: Callable[..., Prediction]) -> None:
    # The means of the judge are 2, 3, 5, 3 and those of the raters 1, 3, 2, 3. Of six pairs, b-d is a tie of the raters;
    # the judge has a-b, a-c, a-d right and b-c, c-d wrong: 3 of 5.
    scores = {"a": (2, 1), "b": (3, 3), "c": (5, 2), "d": (3, 3)}
    predictions = [
        make_prediction(f"{name}-{copy}", judge, [rating], system=name)
        for name, (judge, rating) in scores.items()
        for copy in "xy"
    ]
    predictions += [
        make_prediction("nameless", 4, [4]),
        make_prediction("unscored", None, [4], system="e"),
    ]
    result = evaluate(predictions)
    assert (result["systems"], result["n"], result["without_system"]) == (4, 8, 1)
    assert result["means"]["c"] == {"n": 2, "predicted": 5, "rated": 2}
    assert (result["pairs"], result["pairs_tied_by_raters"]) == (6, 1)
    assert result["pairwise_accuracy"] == 3 / 5
    # Judge 2 3 5 3, people 1 3 2 3: deviations -1.25 -0.25 1.75 -0.25 and -1.25 0.75 -0.25 0.75:
    # Σdxdy = 1.5625 - 0.1875 - 0.4375 - 0.1875 = 0.75, Σdx² = 4.75, Σdy² = 2.75.
    assert result["pearson"] == pytest.approx(0.75 / np.sqrt(4.75 * 2.75))
    # No two systems have a common group and none has any variance, so each p is 0, ½ or 1. p of raters and judge:
    # a-b 1 1, a-c 1 1, a-d 1 1, b-c 0 1, b-d ½ ½, c-d 1 0. The accuracy is 1 - 2/6.
    assert result["soft_pairwise_accuracy"] == pytest.approx(4 / 6)
    assert (result["pairs_tested"], result["pairs_on_shared_groups"]) == (6, 0)


def test_a_judge_that_copies_the_raters_has_full_soft_accuracy(
    make_prediction: Callable[..., Prediction],
) -> None:
    generator = np.random.default_rng(0)
    predictions = [
        make_prediction(
            f"{system}-{scene}", float(score), [float(score)], system=system, group=f"{scene}"
        )
        for scene in range(30)
        for system, score in zip("abc", generator.integers(1, 6, size=3), strict=True)
    ]
    result = evaluate(predictions)
    assert result["soft_pairwise_accuracy"] == 1
    assert result["pairs_on_shared_groups"] == 3
    assert evaluate(predictions[::-1]) == result


def test_two_systems_are_too_few_to_correlate(make_prediction: Callable[..., Prediction]) -> None:
    predictions = [make_prediction(name, 3, [4], system=name) for name in "ab"]
    result = evaluate(predictions)
    assert result["pearson"] is None
    assert result["undefined"]["pearson"].startswith("only 2 systems are")
    assert result["soft_pairwise_accuracy"] is None  # one record each: nothing to test
    assert result["pairwise_accuracy"] is None  # the raters tie the only pair


def test_records_without_systems_have_no_system_level(
    make_prediction: Callable[..., Prediction],
) -> None:
    predictions = [make_prediction("a", 3, [4])]
    of = dimension_arrays("trait_embodiment", predictions, cluster_names(predictions))
    assert system_level(predictions, of, seed=0) is None
