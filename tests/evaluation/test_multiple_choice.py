"""Accuracy on options by hand: ties, unscored answers, categories, intervals, and the lines of files."""

import json
import math

import numpy as np
import pytest

from dramaeval.evaluation.multiple_choice import accuracy_text, credit, summarise_options
from dramaeval.evaluation.option_predictions import OptionPrediction, option_of


def said(at, share, answer, **more):
    return OptionPrediction(
        id=str(at), dimension="answer", options=("a", "b", "c"), distribution=share, answer=answer,
        state="scored" if share else "unreadable clip", **more,
    )  # fmt: skip


THREE = [
    said(0, (0.5, 0.3, 0.2), 0, category="x"),  # right
    said(1, (0.4, 0.4, 0.2), 1, category="x"),  # one of two that tie
    said(2, (0.2, 0.5, 0.3), 0, category="y"),  # wrong
    said(3, None, 0, category="y"),  # unscored
    said(4, (0.2, 0.5, 0.3), None, category=None),  # no answer known
]


def test_accuracy_ties_and_counts_by_hand():
    assert [credit(prediction) for prediction in THREE[:3]] == [1, 0.5, 0]
    result = summarise_options(THREE, seed=0, draws=0)
    whole = result["overall"]
    assert whole["likelihood"]["accuracy"] == pytest.approx(1.5 / 3)
    assert (whole["likelihood"]["n"], whole["likelihood"]["ties"]) == (3, 1)
    # log 0.5, log 0.4, log 0.2
    expected = (math.log(0.5) + math.log(0.4) + math.log(0.2)) / 3
    assert whole["likelihood"]["mean_log_p"] == pytest.approx(expected)
    assert whole["unscored"] == {"unreadable clip": 1}
    assert whole["without_answer"] == 1
    assert whole["chance"] == pytest.approx(1 / 3)
    assert "written" not in whole
    categories = {
        name: entry["likelihood"]["accuracy"] for name, entry in result["categories"].items()
    }
    assert categories == {"without a category": None, "x": 0.75, "y": 0}


def test_written_answers():
    wrote = [
        said(0, (0.5, 0.3, 0.2), 0, written="A", chosen=0, written_state="scored"),
        said(1, (0.5, 0.3, 0.2), 0, written="b", chosen=1, written_state="scored"),
        said(
            2, (0.5, 0.3, 0.2), 0, written="dog", written_state="the answer is none of the options"
        ),
    ]
    result = summarise_options(wrote, seed=0, draws=0)["overall"]["written"]
    assert result["accuracy"] == pytest.approx(1 / 3)
    assert result["no_option"] == {"the answer is none of the options": 1}
    assert option_of(" A  dog\n", ("a dog", "a cat")) == 0
    assert option_of("a", ("a dog", "a cat")) is None
    assert option_of("x", ("x", "X ")) is None


def test_intervals_draw_clips():
    """Ten clips of two questions that are right or wrong together: the variance is that of ten, not twenty."""
    predictions = [
        said(f"{clip}-{turn}", (1.0, 0.0, 0.0), 0 if clip < 5 else 1, group=f"clip{clip}")
        for clip in range(10)
        for turn in range(2)
    ]
    result = summarise_options(predictions, seed=0, draws=4000)
    low, high = result["overall"]["likelihood"]["interval"]
    # Of ten fair clips: 2.5 % and 97.5 % points of a binomial of 10 and 1/2 are 2 and 8.
    assert (low, high) == (pytest.approx(0.2), pytest.approx(0.8))
    assert result["bootstrap"] == {"draws": 4000, "level": 0.95, "clusters": 10}
    assert summarise_options(predictions[:6], seed=0)["overall"]["likelihood"]["interval"] is None


def test_lines_are_read_back_and_the_table_has_every_category():
    for prediction in THREE:
        assert (
            OptionPrediction.from_json(json.loads(json.dumps(prediction.to_json()))) == prediction
        )
    text = accuracy_text({"zero_shot": summarise_options(THREE, seed=0, draws=0)}, "test")
    assert "| all | zero-shot | 0.50 | - | 0.33 | 3 | 1 | - |" in text
    assert np.all([name in text for name in ("| x |", "| y |", "without a category")])
