"""Rankings of systems from comparisons: order, tests, agreement with votes and scores, and refused inputs."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from dramaeval.data.raters import RaterInfo
from dramaeval.evaluation.pairs.davidson import fit
from dramaeval.evaluation.pairs.pair_ranking import NoRankingError, rank_pairs

SETTINGS = {"seed": 0, "draws": 200, "level": 0.95}
STRENGTH = {"good": 1.0, "fair": 0.2, "weak": -1.2}


@pytest.fixture
def compared(make_pair):
    """Pairs of three systems on 40 prompts; two votes of each are drawn from Davidson's model with ν = 1."""
    generator = np.random.default_rng(0)
    pairs = []
    for prompt in range(40):
        shift = {name: generator.normal() / 4 for name in STRENGTH}
        for a, b in combinations(STRENGTH, 2):
            difference = STRENGTH[a] + shift[a] - STRENGTH[b] - shift[b]
            raw = np.array([np.exp(difference / 2), 1, np.exp(-difference / 2)])
            p = raw / raw.sum()
            votes = generator.choice([1.0, 0.0, -1.0], size=2, p=p).tolist()
            more = {
                "system_a": a,
                "system_b": b,
                "prompt": str(prompt),
                "margin": float(difference),
            }
            pairs.append(make_pair(f"{prompt}{a}{b}", p.tolist(), votes, **more))
    return pairs


def test_ratings_differences_and_agreement(compared):
    board = rank_pairs(compared, **SETTINGS)
    json.dumps(board, allow_nan=False)
    assert list(board["systems"]) == ["good", "fair", "weak"]
    counts = np.zeros((3, 3))
    votes = np.zeros((3, 3))
    for p in compared:
        pair = [("good", "fair"), ("good", "weak"), ("fair", "weak")].index(
            (p.system_a, p.system_b)
        )
        counts[:, pair] += p.outcomes
        votes[:, pair] += [sum(v == k for v in p.votes) for k in (1, 0, -1)]
    for key, sums in (("rating", counts), ("people", votes)):
        expected = fit(sums[None], np.array([0, 0, 1]), np.array([1, 2, 2]), 3).ratings[0]
        assert [s[key] for s in board["systems"].values()] == pytest.approx(expected)
    for system in board["systems"].values():
        assert system["interval"][0] < system["rating"] < system["interval"][1]
        assert (system["comparisons"], system["prompts"]) == (80, 40)
    assert [system["ranks"] for system in board["systems"].values()] == [[1, 1], [2, 2], [3, 3]]
    assert all(pair["real"] for pair in board["pairs"])
    adjusted = stats.false_discovery_control([pair["p"] for pair in board["pairs"]], method="by")
    assert [pair["p_adjusted"] for pair in board["pairs"]] == pytest.approx(adjusted)
    assert board["people_order"] == {"kendall": 1, "spearman": 1, "systems": 3}
    assert board["score_order"]["kendall"] == 1


def test_scores_are_the_mean_scores_of_a_complete_design(make_pair):
    scores = np.random.default_rng(1).normal(size=(3, 6))
    pairs = [
        make_pair(
            f"{prompt}{a}{b}", (0.4, 0.2, 0.4) if a else (0.5, 0.2, 0.3), (), prompt=str(prompt),
            system_a=f"s{a}", system_b=f"s{b}", margin=scores[a, prompt] - scores[b, prompt],
        )
        for prompt in range(6)
        for a, b in combinations(range(3), 2)
    ]  # fmt: skip
    board = rank_pairs(pairs, **SETTINGS)
    means = scores.mean(axis=1) - scores.mean()
    assert [board["systems"][f"s{k}"]["score"] for k in range(3)] == pytest.approx(means)
    assert board["people_order"] == {"undefined": "no pair has a known vote"}
    without = [replace(p, margin=None) for p in pairs]
    assert "by itself" in rank_pairs(without, **SETTINGS)["score_order"]["undefined"]


def test_an_exchange_of_the_clips_changes_nothing(compared, exchanged):
    flips = np.random.default_rng(2).random(len(compared)) < 0.5
    board = rank_pairs(exchanged(compared, flips), **SETTINGS)
    expected = rank_pairs(compared, **SETTINGS)
    for name, system in expected["systems"].items():
        assert board["systems"][name]["rating"] == pytest.approx(system["rating"], abs=1e-8)
        assert board["systems"][name]["interval"] == pytest.approx(system["interval"], abs=1e-8)


@pytest.mark.parametrize("names", [("x", "y", "z"), ("z", "y", "x"), ("y", "z", "x")])
def test_systems_with_the_same_comparisons_share_a_rank_and_do_not_differ(make_pair, names):
    """The first two systems have the same outcomes against the third, and are even against each other, in all prompts."""
    generator = np.random.default_rng(2)
    pairs = []
    for prompt in range(12):
        outcomes = generator.dirichlet([4, 2, 1]).tolist()
        even = (0.37, 0.26, 0.37)
        for a, b, p in ((0, 2, outcomes), (1, 2, outcomes), (0, 1, even)):
            more = {"system_a": names[a], "system_b": names[b], "prompt": str(prompt)}
            pairs.append(make_pair(f"{prompt}{a}{b}", p, (), **more))
    board = rank_pairs(pairs, **SETTINGS)
    ranks = {name: (s["rank"], s["ranks"]) for name, s in board["systems"].items()}
    assert ranks == {names[0]: (1, [1, 1]), names[1]: (1, [1, 1]), names[2]: (3, [3, 3])}
    by_pair = {frozenset((p["better"], p["worse"])): p for p in board["pairs"]}
    twins = by_pair[frozenset(names[:2])]
    assert (twins["p"], twins["real"], twins["interval"]) == (1, False, [0, 0])
    assert by_pair[frozenset(names[1:])]["real"]


def test_a_system_that_always_wins_has_a_finite_rating(make_pair):
    pairs = [
        make_pair(f"{k}", (1.0, 0.0, 0.0), (1.0,), system_a="x", system_b="y", prompt=str(k))
        for k in range(6)
    ]
    board = rank_pairs(pairs, **SETTINGS)
    assert board["half_wins"]
    # Half a win is added on each side: θ₁ − θ₂ = log(6.5 / 0.5), divided equally between both.
    assert board["systems"]["x"]["rating"] == pytest.approx(np.log(13) / 2)
    assert board["systems"]["y"]["people"] == pytest.approx(-np.log(13) / 2)


def test_pairs_that_rank_no_system_have_a_reason(make_pair):
    p = make_pair("p", (0.5, 0.2, 0.3), ())
    same = replace(p, system_a="x", system_b="x")
    with pytest.raises(NoRankingError, match="no pair has clips of two different systems"):
        rank_pairs([p, same], **SETTINGS)
    apart = [
        replace(p, system_a="x", system_b="y"),
        replace(p, id="q", system_a="v", system_b="w"),
    ]
    with pytest.raises(NoRankingError, match="2 groups that no comparison links: v, w; x, y"):
        rank_pairs(apart, **SETTINGS)
    tie = make_pair("t", (0, 1, 0), (), system_a="x", system_b="y")
    with pytest.raises(NoRankingError, match="every comparison is a tie"):
        rank_pairs([tie], **SETTINGS)


def test_left_out_pairs_are_counted_and_mean_votes_are_not_used(make_pair):
    p = make_pair(
        "p", (0.5, 0.2, 0.3), (0.4,), system_a="x", system_b="y", raters=RaterInfo(mean_only=True)
    )
    board = rank_pairs(
        [p, replace(p, id="q", system_b=None), replace(p, id="r", system_b="x")], **SETTINGS
    )
    assert board["left_out"] == {"without_two_systems": 1, "same_system": 1}
    assert board["people_order"] == {"undefined": "no pair has a known vote"}
    assert board["systems"]["x"]["interval"] is None  # one prompt
