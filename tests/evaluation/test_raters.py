"""Ceiling, alpha, alternative annotator test and metrics with named raters, unknown raters and mean ratings."""

from dataclasses import replace

import numpy as np
import pytest

from dramaeval.data.raters import RaterInfo
from dramaeval.evaluation.dimension_arrays import ONLY_MEANS, RATERS_UNKNOWN
from dramaeval.evaluation.summary import summarise
from dramaeval.training.rewards.agreement import Agreement
from dramaeval.training.rewards.completion import Completion, FieldAnswer
from dramaeval.training.validation_metrics import _of_ratings

KEY = "trait_embodiment"


@pytest.fixture
def positional(make_prediction):
    """40 predictions with distributions, rated by three of four raters each."""
    rng = np.random.default_rng(3)
    quality = rng.uniform(1.5, 4.5, size=40)
    rated = np.clip(np.rint(quality[:, None] + rng.normal(size=(40, 4))), 1, 5).tolist()
    predictions = []
    for number, ratings in enumerate(rated):
        ratings[number % 4] = None
        p = np.exp(-((np.arange(1, 6) - quality[number]) ** 2))
        p /= p.sum()
        predictions.append(make_prediction(
            f"r{number}", float(p @ np.arange(1, 6)), ratings, distribution=tuple(p.tolist())
        ))  # fmt: skip
    return predictions


def values_of(predictions):
    summary = summarise(predictions, [KEY], seed=0, draws=20)
    return summary["macro"], summary["dimensions"][KEY]


def test_named_raters_give_the_results_of_positions(positional):
    names = np.array(["b", "d", "a", "c"])
    rng = np.random.default_rng(0)
    named = []
    for prediction in positional:
        order = [k for k in rng.permutation(4) if prediction.ratings[k] is not None]
        ratings = tuple(prediction.ratings[k] for k in order)
        named.append(
            replace(prediction, ratings=ratings, raters=RaterInfo(ids=tuple(names[order])))
        )
    expected, found = values_of(positional)[1], values_of(named)[1]
    assert found["ceiling"]["pearson"] == pytest.approx(expected["ceiling"]["pearson"], abs=1e-12)
    by_name = np.array(expected["ceiling"]["pearson_each"])[np.argsort(names)]
    np.testing.assert_allclose(found["ceiling"]["pearson_each"], by_name)
    key = "krippendorff_alpha"
    assert found["ceiling"][key] == pytest.approx(expected["ceiling"][key], abs=1e-12)
    for name in ("winning_rate", "advantage_probability"):
        test = (found["alternative_annotator"][name], expected["alternative_annotator"][name])
        assert test[0] is not None
        assert test[0] == pytest.approx(test[1])
    for name in ("pearson", "ece", "rater_spread", "mse"):
        assert found[name] == pytest.approx(expected[name], abs=1e-12)


def test_unknown_raters_have_alpha_and_no_ceiling(positional):
    unknown = [replace(p, raters=RaterInfo(unknown=True)) for p in positional]
    macro, found = values_of(unknown)
    expected = values_of(positional)[1]
    assert found["ceiling"]["pearson"] is None
    assert found["ceiling"]["undefined"] == {"pearson": RATERS_UNKNOWN, "spearman": RATERS_UNKNOWN}
    assert macro["ceiling"]["undefined"] == {KEY: RATERS_UNKNOWN}
    assert found["alternative_annotator"]["undefined"] == RATERS_UNKNOWN
    assert found["ceiling"]["krippendorff_alpha"] == expected["ceiling"]["krippendorff_alpha"]
    assert (found["pearson"], found["ece"]) == (expected["pearson"], expected["ece"])


def test_mean_ratings_have_metrics_of_the_mean_and_no_results_of_raters(positional):
    info = RaterInfo(mean_only=True, std=None, count=3)
    means = [replace(p, ratings=(p.mean_rating,), raters=info) for p in positional]
    found, expected = values_of(means)[1], values_of(positional)[1]
    for name in ("pearson", "mse", "accuracy", "qwk"):
        assert found[name] == pytest.approx(expected[name], abs=1e-12)
    assert (found["mean_only"], found["ratings"], found["ratings_missing"]) == (40, 120, 0)
    assert set(found["ceiling"]["undefined"].values()) == {ONLY_MEANS}
    assert len(found["ceiling"]["undefined"]) == 3
    assert found["alternative_annotator"]["undefined"] == ONLY_MEANS
    assert (found["ece"], found["undefined"]["ece"]) == (None, ONLY_MEANS)
    assert found["rater_spread"] is None
    # Further mean ratings do not change the results of the raters.
    other = [replace(p, id=f"mean {p.id}") for p in means]
    mixed = values_of([*positional, *other])[1]
    assert mixed["ceiling"]["pearson_each"] == expected["ceiling"]["pearson_each"]
    assert mixed["ece"] == pytest.approx(expected["ece"])


def test_validation_and_rewards_use_the_distribution_estimated_from_the_mean(make_prediction):
    info = RaterInfo(mean_only=True, std=0.56**0.5)
    p = (0.5, 0.25, 0.25)
    one = make_prediction("r", 1.75, [2.2], distribution=p, scale=(1.0, 2.0, 3.0))
    figures = _of_ratings([replace(one, raters=info)])
    expected = -np.dot([0.2, 0.4, 0.4], np.log(p))  # see test_mean_ratings
    assert figures["cross_entropy"] == pytest.approx(expected, abs=1e-8)
    answer = FieldAnswer(dimension=KEY, scale=(1, 2, 3), options=False, choice=1, ratings=(2.2,),
                         wanted=1, shares=(0.2, 0.4, 0.4))  # fmt: skip
    completion = Completion(id="r", group=0, text="", tokens=1, finished=True, well_formed=True,
                            answers=(answer,))  # fmt: skip
    assert Agreement()([completion]) == [0.4]
