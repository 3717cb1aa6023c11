"""The leaderboard: mean scores over prompts, ranks with intervals, and significant differences."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.report.leaderboard_page import sentences


@pytest.fixture
def predictions_of(make_prediction):
    """A function that builds predictions of systems on prompts from a table of scores; NaN means no clip."""

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


def board(predictions_and_prompts, draws=500):
    return rank(*predictions_and_prompts, seed=0, draws=draws, level=0.95)


def test_scores_ranks_and_differences_by_hand(predictions_of):
    rng = np.random.default_rng(0)
    base = rng.uniform(2, 4, 30)
    result = board(predictions_of({"low": base - 0.5, "high": base + 0.5, "twin": base + 0.5}))
    assert list(result["systems"]) == ["high", "twin", "low"]
    assert [system["rank"] for system in result["systems"].values()] == [
        1,
        1,
        3,
    ]  # equal scores share a rank
    assert result["systems"]["low"]["score"] == pytest.approx(base.mean() - 0.5)
    low, high = result["systems"]["low"]["interval"]
    assert low < base.mean() - 0.5 < high
    assert result["systems"]["low"]["ranks"] == [3, 3]
    first, second, third = result["pairs"]
    assert (first["better"], first["worse"], first["real"]) == ("high", "twin", False)
    assert first["p"] == 1
    # The difference is one point on every prompt, so the variance between prompts has no effect.
    assert second["difference"] == pytest.approx(1)
    assert second["interval"] == pytest.approx([1, 1])
    assert second["p"] == pytest.approx(1 / 501)
    assert second["real"]
    assert third["real"]
    adjusted = stats.false_discovery_control([1, 1 / 501, 1 / 501], method="by")
    assert [pair["p_adjusted"] for pair in result["pairs"]] == pytest.approx(adjusted)


def test_every_rank_is_within_its_interval_and_systems_with_the_same_score_share_it(predictions_of):
    """The expected ranks are one more than the number of systems with a higher sum of scores, in whole tenths."""
    rng = np.random.default_rng(1)
    tenths = rng.integers(10, 50, 8)
    rows = {f"t{at}": rng.permutation(tenths) for at in range(4)}  # other orders of summation
    rows |= {"above": tenths + 1, "below": tenths - 1, "also below": tenths - 1}
    result = board(predictions_of({name: row / 10 for name, row in rows.items()}))
    total = {name: int(row.sum()) for name, row in rows.items()}
    for name, system in result["systems"].items():
        assert system["rank"] == 1 + sum(other > total[name] for other in total.values())
    twins = [result["systems"][name] for name in ("below", "also below")]
    assert twins[0]["ranks"] == twins[1]["ranks"]
    assert all(low <= s["rank"] <= high for s in twins for low, high in [s["ranks"]])


def test_too_few_scored_systems_are_counted_with_what_to_do(predictions_of):
    predictions, prompts = predictions_of({"a": [1.0, 2.0], "b": [3.0], "c": [4.0, 5.0]})
    failed = [
        replace(p, expected=None, distribution=None, state="no answer") if p.system != "a" else p
        for p in predictions
    ]
    with pytest.raises(ValueError, match=r"2 of 5 clips .* 1 of 3 systems, .*two systems: .*state"):
        board((failed, prompts))


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_pairs_computed_together_equal_those_computed_one_by_one(predictions_of, missing):
    """The expected values are computed pair by pair; the numbers of draws and prompts are odd."""
    rng = np.random.default_rng(3)
    scores = {f"s{at}": rng.uniform(1, 5, 9) for at in range(7)}
    for row in scores.values():
        row[rng.random(9) < missing] = np.nan
    result = rank(*predictions_of(scores), seed=5, draws=101, level=0.9)
    generator = np.random.default_rng([5, 4])
    pairs = iter(result["pairs"])
    tested = []
    for first, second in combinations(result["systems"], 2):
        pair = next(pairs)
        assert {pair["better"], pair["worse"]} == {first, second}
        differences = scores[pair["better"]] - scores[pair["worse"]]
        differences = differences[~np.isnan(differences)]
        assert pair["prompts"] == len(differences)
        assert pair["difference"] == pytest.approx(differences.mean())
        assert differences.mean() >= 0
        if len(differences) < 5:
            assert (pair["p"], pair["interval"]) == (None, None)
            continue
        means = bootstrap_draws(len(differences), 101, 5).counts @ differences / len(differences)
        assert pair["interval"] == pytest.approx(np.quantile(means, [0.05, 0.95]))
        signs = generator.choice([-1.0, 1.0], size=(101, len(differences)))
        larger = np.abs(signs @ differences) / len(differences) >= differences.mean() - 1e-9
        assert pair["p"] == (1 + larger.sum()) / 102
        tested.append(pair)
    assert len(tested) > 10
    adjusted = stats.false_discovery_control([pair["p"] for pair in tested], method="by")
    assert [pair["p_adjusted"] for pair in tested] == pytest.approx(adjusted)


def test_noise_is_not_a_significant_difference(predictions_of):
    rng = np.random.default_rng(1)
    predictions_and_prompts = predictions_of({name: rng.uniform(1, 5, 12) for name in "abcd"})
    result = board(predictions_and_prompts)
    assert not any(pair["real"] for pair in result["pairs"])
    assert result["systems"]["a"]["ranks"][0] < result["systems"]["a"]["ranks"][1]


def test_systems_are_compared_on_the_prompts_that_both_have(predictions_of):
    nan = float("nan")
    easy, hard = [5.0] * 6, [2.0] * 6
    predictions_and_prompts = predictions_of(
        {"all": [*easy, *hard], "hard_only": [nan] * 6 + [2.5] * 6}
    )
    result = board(predictions_and_prompts)
    (pair,) = result["pairs"]
    # hard_only has the lower mean, but is half a point ahead on the prompts that both have.
    assert (pair["better"], pair["worse"], pair["prompts"]) == ("hard_only", "all", 6)
    assert pair["difference"] == pytest.approx(0.5)
    assert list(result["systems"]) == ["all", "hard_only"]
    assert result["systems"]["hard_only"]["prompts"] == 6


def test_dimensions_of_different_scales_have_equal_weight(predictions_of):
    fives, prompts = predictions_of({"a": [5.0, 5.0], "b": [1.0, 1.0]})
    passes, _ = predictions_of(
        {"a": [0.5, 0.5], "b": [1.0, 1.0]}, scale=(0.0, 1.0), dimension="pass"
    )
    result = board(([*fives, *passes], prompts))
    assert result["scale"] == [0, 1]
    assert result["systems"]["a"]["score"] == pytest.approx(0.75)
    assert result["systems"]["b"]["score"] == pytest.approx(0.5)
    assert result["systems"]["a"]["dimensions"] == {"pitch": 5.0, "pass": 0.5}


def test_with_few_prompts_there_are_no_intervals(predictions_of):
    result = board(predictions_of({"a": [5.0] * 4, "b": [1.0] * 4}))
    assert result["systems"]["a"]["interval"] is None
    assert result["pairs"][0]["real"] is None


def test_clips_without_system_or_score_are_counted(predictions_of, make_prediction):
    predictions, prompts = predictions_of({"a": [5.0] * 6, "b": [1.0] * 6}, ratings=(3, 4))
    predictions.append(make_prediction("lost", None, (), dimension="pitch", system="a"))
    predictions.append(make_prediction("nobody", 3.0, (), dimension="pitch"))
    prompts |= {"lost": "prompt 0", "nobody": "prompt 0"}
    result = board((predictions, prompts))
    assert result["left_out"] == {"clips_without_system": 1, "clips_unscored": 1}
    assert result["systems"]["a"]["unscored"] == 1
    assert result["systems"]["a"]["people"] == 3.5
    with pytest.raises(ValueError, match="two systems"):
        board(predictions_of({"a": [3.0, 3.0]}))


def test_the_order_by_ratings_is_compared_with_that_of_the_judge(predictions_of):
    predictions_and_prompts = [predictions_of({name: [value] * 6}, ratings=(rating,))
            for name, value, rating in (("a", 5.0, 5), ("b", 4.0, 3), ("c", 3.0, 4))]  # fmt: skip
    predictions = [
        prediction
        for predictions_of_system, _ in predictions_and_prompts
        for prediction in predictions_of_system
    ]
    prompts = {
        key: value
        for _, predictions_of_system in predictions_and_prompts
        for key, value in predictions_of_system.items()
    }
    # The raters order one of three pairs the other way: tau = (2 − 1) / 3.
    assert board((predictions, prompts))["people_order"] == {
        "kendall": pytest.approx(1 / 3), "systems": 3,
    }  # fmt: skip


def test_the_sentences_follow_from_the_pairs(predictions_of):
    rng = np.random.default_rng(0)
    base = rng.uniform(2, 4, 30)
    clear = sentences(board(predictions_of({"low": base - 0.5, "high": base + 0.5})))
    assert "1 of 1 differences between two systems are significant" in clear[1]
    assert (
        clear[2]
        == "high is significantly ahead of every system that shares enough prompts with it."
    )
    twins = sentences(board(predictions_of({"a": base, "b": base, "c": base - 1})))
    assert twins[2] == "a does not differ significantly from b."
    nan = float("nan")
    easy = {"all": [5.0] * 9 + [2.0] * 9, "hard_only": [nan] * 9 + [2.5] * 9}
    exceptional = sentences(board(predictions_of(easy)))
    assert exceptional[2] == "On the prompts that both have, all is significantly below hard_only."
    assert "Not every system has every prompt" in exceptional[3]
    few = sentences(board(predictions_of({"a": [5.0] * 4, "b": [1.0] * 4})))
    assert "No two systems have enough prompts in common" in few[1]
