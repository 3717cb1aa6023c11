"""Phrasing: the average over wordings and how far they lie apart."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from dramaeval.evaluation.controls.phrasing import averaged, phrasing, spread
from dramaeval.evaluation.controls.setting import NotPossibleError
from dramaeval.evaluation.predictions import Prediction
from dramaeval.run.build import build_task


def test_the_spread_by_hand(make_prediction):
    said = [
        [make_prediction("a", 2.0, (3,)), make_prediction("b", 4.0, (3,))],
        [make_prediction("a", 3.0, (3,)), make_prediction("b", 4.0, (3,))],
        [make_prediction("a", 4.0, (3,)), make_prediction("b", None, (3,))],
    ]
    # a: variance 1 over 2, 3, 4; b is not scored by all.
    assert spread(said) == {
        "phrasings": 3,
        "dimensions": {"trait_embodiment": {"mean_deviation": 1.0, "largest_range": 2.0, "n": 1}},
    }


def test_the_average_is_of_distributions(make_prediction):
    low, high = (1.0, 0, 0, 0, 0), (0, 0, 0, 0.5, 0.5)
    said = [
        [make_prediction("a", 1.0, (3,), distribution=low)],
        [make_prediction("a", 4.5, (3,), distribution=high)],
    ]
    (one,) = averaged(said)
    assert one.distribution == (0.5, 0, 0, 0.25, 0.25)
    assert one.expected == pytest.approx(2.75)
    said[1] = [make_prediction("a", None, (3,), state="unreadable clip: torn")]
    (one,) = averaged(said)
    assert (one.expected, one.state) == (None, "unreadable clip: torn")


def test_a_task_with_wordings_is_asked_in_each(setting, composed):
    own = setting()
    with pytest.raises(NotPossibleError, match="one wording"):
        phrasing(own)
    systems = ["You judge acted speech.", "Listen and rate.", "Be strict."]

    def phrased(count, seed):
        only = "task.dimensions=[pitch_dynamics,trait_embodiment]"
        return [build_task(composed(only, f"task.system={words}")) for words in systems[:count]]

    own.task.phrased = phrased
    found, extra = phrasing(replace(own, phrasings=3))
    assert extra["phrasings"] == 3
    judge = own.score(own.records, own.sheets)  # the first wording is the task's own
    assert [one.id for one in found] == [one.id for one in judge]
    assert extra["dimensions"]["pitch_dynamics"]["mean_deviation"] > 0
    gaps = [abs(a.expected - b.expected) for a, b in zip(found, judge, strict=True)]
    assert 0 < max(gaps) <= max(one["largest_range"] for one in extra["dimensions"].values())
    assert np.isfinite(gaps).all()


def test_a_task_that_averages_by_itself_is_taken_apart(setting, make_prediction):
    @dataclass(frozen=True, kw_only=True)
    class Averaged(Prediction):
        wordings: tuple[float, ...] | None = None

    def made(name, wordings):
        expected = None if wordings is None else float(np.mean(wordings))
        return Averaged(
            id=name, dimension="pitch_dynamics", scale=(1.0, 2.0, 3.0, 4.0, 5.0), distribution=None,
            expected=expected, ratings=(3,), state="scored" if wordings else "torn", wordings=wordings,
        )  # fmt: skip

    said = [made("a", (2.0, 3.0, 4.0)), made("b", None)]
    own = setting()
    own.task.wordings_in_scoring = 3
    found, extra = phrasing(replace(own, score=lambda records, sheets: said))
    assert found == said
    assert extra == {
        "phrasings": 3,
        "dimensions": {"pitch_dynamics": {"mean_deviation": 1.0, "largest_range": 2.0, "n": 1}},
    }
