"""The leaderboard: means over prompts, ranks with intervals, and differences that are real."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.report.leaderboard_page import sentences


@pytest.fixture
def spoken(make_prediction):
    """Predictions of systems on prompts, from a table of scores; NaN is a clip that is not there."""

    def make(scores, *, ratings=(), scale=(1.0, 2.0, 3.0, 4.0, 5.0), dimension="pitch"):
        predictions, prompts = [], {}
        for system, row in scores.items():
            for prompt, value in enumerate(row):
                if value != value:
                    continue
                name = f"{system}-{prompt}"
                prompts[name] = f"prompt {prompt}"
                predictions.append(
                    make_prediction(
                        name, value, ratings, dimension=dimension, scale=scale, system=system
                    )
                )
        return predictions, prompts

    return make


def board(made, draws=500):
    return rank(*made, seed=0, draws=draws, level=0.95)


def test_scores_ranks_and_differences_by_hand(spoken):
    rng = np.random.default_rng(0)
    base = rng.uniform(2, 4, 30)
    result = board(spoken({"low": base - 0.5, "high": base + 0.5, "twin": base + 0.5}))
    assert list(result["systems"]) == ["high", "twin", "low"]
    assert [system["rank"] for system in result["systems"].values()] == [1, 2, 3]
    assert result["systems"]["low"]["score"] == pytest.approx(base.mean() - 0.5)
    low, high = result["systems"]["low"]["interval"]
    assert low < base.mean() - 0.5 < high
    assert result["systems"]["low"]["ranks"] == [3, 3]
    first, second, third = result["pairs"]
    assert (first["better"], first["worse"], first["real"]) == ("high", "twin", False)
    assert first["p"] == 1
    # One point apart on every prompt: the prompts' own spread does not count.
    assert second["difference"] == pytest.approx(1)
    assert second["interval"] == pytest.approx([1, 1])
    assert second["p"] == pytest.approx(1 / 501)
    assert second["real"]
    assert third["real"]
    adjusted = stats.false_discovery_control([1, 1 / 501, 1 / 501], method="by")
    assert [pair["p_adjusted"] for pair in result["pairs"]] == pytest.approx(adjusted)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_pairs_computed_together_equal_those_computed_one_by_one(spoken, missing):
    """Against the formula of `rank`, a pair at a time; odd numbers of draws and prompts."""
    rng = np.random.default_rng(3)
    scores = {f"s{at}": rng.uniform(1, 5, 9) for at in range(7)}
    for row in scores.values():
        row[rng.random(9) < missing] = np.nan
    result = rank(*spoken(scores), seed=5, draws=101, level=0.9)
    generator = np.random.default_rng([5, 4])
    pairs = iter(result["pairs"])
    tested = []
    for first, second in combinations(result["systems"], 2):
        pair = next(pairs)
        assert {pair["better"], pair["worse"]} == {first, second}
        gaps = scores[pair["better"]] - scores[pair["worse"]]
        gaps = gaps[~np.isnan(gaps)]
        assert pair["prompts"] == len(gaps)
        assert pair["difference"] == pytest.approx(gaps.mean())
        assert gaps.mean() >= 0
        if len(gaps) < 5:
            assert (pair["p"], pair["interval"]) == (None, None)
            continue
        means = bootstrap_draws(len(gaps), 101, 5).counts @ gaps / len(gaps)
        assert pair["interval"] == pytest.approx(np.quantile(means, [0.05, 0.95]))
        signs = generator.choice([-1.0, 1.0], size=(101, len(gaps)))
        larger = np.abs(signs @ gaps) / len(gaps) >= gaps.mean() - 1e-9
        assert pair["p"] == (1 + larger.sum()) / 102
        tested.append(pair)
    assert len(tested) > 10
    adjusted = stats.false_discovery_control([pair["p"] for pair in tested], method="by")
    assert [pair["p_adjusted"] for pair in tested] == pytest.approx(adjusted)


def test_noise_is_not_a_significant_difference(spoken):
    rng = np.random.default_rng(1)
    made = spoken({name: rng.uniform(1, 5, 12) for name in "abcd"})
    result = board(made)
    assert not any(pair["real"] for pair in result["pairs"])
    assert result["systems"]["a"]["ranks"][0] < result["systems"]["a"]["ranks"][1]


def test_systems_are_compared_on_the_prompts_that_both_have(spoken):
    nan = float("nan")
    easy, hard = [5.0] * 6, [2.0] * 6
    made = spoken({"all": [*easy, *hard], "hard_only": [nan] * 6 + [2.5] * 6})
    result = board(made)
    (pair,) = result["pairs"]
    # On its own prompts it is half a point ahead, though its mean is below.
    assert (pair["better"], pair["worse"], pair["prompts"]) == ("hard_only", "all", 6)
    assert pair["difference"] == pytest.approx(0.5)
    assert list(result["systems"]) == ["all", "hard_only"]
    assert result["systems"]["hard_only"]["prompts"] == 6


def test_dimensions_of_different_scales_count_alike(spoken):
    fives, prompts = spoken({"a": [5.0, 5.0], "b": [1.0, 1.0]})
    passes, _ = spoken({"a": [0.5, 0.5], "b": [1.0, 1.0]}, scale=(0.0, 1.0), dimension="pass")
    result = board(([*fives, *passes], prompts))
    assert result["scale"] == [0, 1]
    assert result["systems"]["a"]["score"] == pytest.approx(0.75)
    assert result["systems"]["b"]["score"] == pytest.approx(0.5)
    assert result["systems"]["a"]["dimensions"] == {"pitch": 5.0, "pass": 0.5}


def test_few_prompts_have_no_intervals(spoken):
    result = board(spoken({"a": [5.0] * 4, "b": [1.0] * 4}))
    assert result["systems"]["a"]["interval"] is None
    assert result["pairs"][0]["real"] is None


def test_what_is_left_out_is_counted(spoken, make_prediction):
    predictions, prompts = spoken({"a": [5.0] * 6, "b": [1.0] * 6}, ratings=(3, 4))
    predictions.append(make_prediction("lost", None, (), dimension="pitch", system="a"))
    predictions.append(make_prediction("nobody", 3.0, (), dimension="pitch"))
    prompts |= {"lost": "prompt 0", "nobody": "prompt 0"}
    result = board((predictions, prompts))
    assert result["left_out"] == {"clips_without_system": 1, "clips_unscored": 1}
    assert result["systems"]["a"]["unscored"] == 1
    assert result["systems"]["a"]["people"] == 3.5
    with pytest.raises(ValueError, match="two systems"):
        board(spoken({"a": [3.0, 3.0]}))


def test_people_order_beside_the_judges(spoken):
    made = [spoken({name: [value] * 6}, ratings=(rating,))
            for name, value, rating in (("a", 5.0, 5), ("b", 4.0, 3), ("c", 3.0, 4))]  # fmt: skip
    predictions = [prediction for own, _ in made for prediction in own]
    prompts = {key: value for _, own in made for key, value in own.items()}
    # Of three pairs, the raters turn one round: tau = (2 − 1) / 3.
    assert board((predictions, prompts))["people_order"] == {
        "kendall": pytest.approx(1 / 3), "systems": 3,
    }  # fmt: skip


def test_the_sentences_follow_from_the_pairs(spoken):
    rng = np.random.default_rng(0)
    base = rng.uniform(2, 4, 30)
    clear = sentences(board(spoken({"low": base - 0.5, "high": base + 0.5})))
    assert "1 of 1 differences between two systems are significant" in clear[1]
    assert (
        clear[2]
        == "high is significantly ahead of every system that shares enough prompts with it."
    )
    twins = sentences(board(spoken({"a": base, "b": base, "c": base - 1})))
    assert twins[2] == "a does not differ significantly from b."
    nan = float("nan")
    easy = {"all": [5.0] * 9 + [2.0] * 9, "hard_only": [nan] * 9 + [2.5] * 9}
    turned = sentences(board(spoken(easy)))
    assert turned[2] == "On the prompts that both have, all is significantly below hard_only."
    assert "Not every system has every prompt" in turned[3]
    few = sentences(board(spoken({"a": [5.0] * 4, "b": [1.0] * 4})))
    assert "No two systems have enough prompts in common" in few[1]
