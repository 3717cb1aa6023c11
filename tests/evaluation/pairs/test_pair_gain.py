"""The gain of one judge of pairs over another: values, paired interval and permutation test."""

from dataclasses import replace

import numpy as np
import pytest

from dramaeval.evaluation.bootstrap import bootstrap_draws
from dramaeval.evaluation.pairs.pair_gain import pair_gain

SETTINGS = {"seed": 0, "draws": 400, "level": 0.9}


def judged(p, right):
    """The prediction with the outcome of the raters as its likeliest one, or with the opposite outcome."""
    a_first = ((p.mean_vote or 0) > 0) == right
    outcomes = (0.8, 0.1, 0.1) if a_first else (0.1, 0.1, 0.8)
    p_a, p_tie, p_b = outcomes
    return replace(p, p_a=p_a, p_tie=p_tie, p_b=p_b, order_ab=None, order_ba=None)


@pytest.fixture
def voted(random_pairs):
    return [replace(p, votes=(1.0 if p.margin > 0 else -1.0,)) for p in random_pairs(1)]


def test_values_interval_and_p_by_hand(voted):
    rng = np.random.default_rng(0)
    right_a, right_b = rng.random(len(voted)) < 0.9, rng.random(len(voted)) < 0.5
    a = [judged(p, right) for p, right in zip(voted, right_a, strict=True)]
    b = [judged(p, right) for p, right in zip(voted, right_b, strict=True)]
    gain = pair_gain(a, b, ["overall"], **SETTINGS)
    macro, of_dimension = gain["macro"]["accuracy"], gain["dimensions"]["overall"]["accuracy"]
    assert macro["difference"] == of_dimension["difference"]
    assert (macro["a"], macro["b"]) == pytest.approx((right_a.mean(), right_b.mean()))
    # Sums by prompt: three pairs each; clusters are the prompts in alphabetical order.
    names = sorted({p.prompt for p in voted})
    row = np.array([names.index(p.prompt) for p in voted])
    differences = np.bincount(row, weights=right_a.astype(float) - right_b)
    drawn = bootstrap_draws(len(names), 400, 0).counts @ differences / len(voted)
    assert macro["interval"] == pytest.approx(np.quantile(drawn, [0.05, 0.95]).tolist())
    kept = np.random.default_rng([0, 1]).integers(0, 2, size=(400, len(names)), dtype=np.uint8)
    exchanged = (2.0 * kept - 1) @ differences / len(voted)
    as_large = (np.abs(exchanged) >= abs(macro["difference"]) - 1e-12).sum()
    assert macro["p"] == pytest.approx((1 + as_large) / 401)


def test_equal_judges_have_no_gain_and_pairs_of_one_judge_are_left_out(voted):
    a = [judged(p, True) for p in voted]
    gain = pair_gain(a, a[3:], ["overall", "none"], **SETTINGS)
    assert gain["pairs"] == len(a) - 3
    macro = gain["macro"]["brier"]
    assert (macro["difference"], macro["interval"], macro["p"]) == (0, [0, 0], 1)
    assert gain["dimensions"]["none"]["accuracy"] is None
    assert (macro["dimensions"], macro["dimensions_defined"]) == (2, 1)


@pytest.mark.parametrize("prompts", [4, 5])
def test_a_dimension_with_few_prompts_has_a_gain_without_tests(voted, prompts):
    few = sorted({p.prompt for p in voted})[:prompts]
    both = [*voted, *(replace(p, dimension="rare") for p in voted if p.prompt in few)]
    a, b = ([judged(p, row % of > 0) for row, p in enumerate(both)] for of in (5, 2))
    gain = pair_gain(a, b, ["overall", "rare"], **SETTINGS)
    rare, overall = (gain["dimensions"][key]["accuracy"] for key in ("rare", "overall"))
    assert rare["difference"] == pytest.approx(rare["a"] - rare["b"])
    assert (rare["interval"] is None) == (rare["p"] is None) == (prompts < 5)
    assert overall["interval"] is not None
    assert gain["macro"]["accuracy"]["interval"] is not None
