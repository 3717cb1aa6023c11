"""Accuracy on multiple-choice questions, compared with values by hand, and lines of prediction files."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from dramaeval.evaluation.multiple_choice import credit, summarise_options
from dramaeval.evaluation.option_predictions import OptionPrediction, option_of
from dramaeval.evaluation.record_reply import RecordReply
from dramaeval.stages.metrics_file import further_tables
from dramaeval.tasks.processed import ProcessedTask


def prediction_of(at, share, answer, **more):
    return OptionPrediction(
        id=str(at), dimension="answer", options=("a", "b", "c"), distribution=share, answer=answer,
        state="scored" if share else "unreadable clip", **more,
    )  # fmt: skip


PREDICTIONS = [
    prediction_of(0, (0.5, 0.3, 0.2), 0, category="x"),  # right
    prediction_of(1, (0.4, 0.4, 0.2), 1, category="x"),  # right, but with a tie
    prediction_of(2, (0.2, 0.5, 0.3), 0, category="y"),  # wrong
    prediction_of(3, None, 0, category="y"),  # unscored
    prediction_of(4, (0.2, 0.5, 0.3), None, category=None),  # no answer known
]


def test_accuracy_ties_and_counts_by_hand():
    assert [credit(prediction) for prediction in PREDICTIONS[:3]] == [1, 0.5, 0]
    result = summarise_options(PREDICTIONS, seed=0, draws=0)
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


def test_written_answers_are_compared_with_the_options():
    written = [
        prediction_of(0, (0.5, 0.3, 0.2), 0, written="A", chosen=0, written_state="scored"),
        prediction_of(1, (0.5, 0.3, 0.2), 0, written="b", chosen=1, written_state="scored"),
        prediction_of(
            2, (0.5, 0.3, 0.2), 0, written="dog", written_state="the answer is none of the options"
        ),
    ]
    result = summarise_options(written, seed=0, draws=0)["overall"]["written"]
    assert result["accuracy"] == pytest.approx(1 / 3)
    assert result["no_option"] == {"the answer is none of the options": 1}
    assert option_of(" A  dog\n", ("a dog", "a cat")) == 0
    assert option_of("a", ("a dog", "a cat")) is None
    assert option_of("x", ("x", "X ")) is None


def test_intervals_resample_whole_clips():
    """Both questions of a clip are right or wrong together, so ten clips have the variance of ten answers."""
    predictions = [
        prediction_of(f"{clip}-{turn}", (1.0, 0.0, 0.0), 0 if clip < 5 else 1, group=f"clip{clip}")
        for clip in range(10)
        for turn in range(2)
    ]
    result = summarise_options(predictions, seed=0, draws=4000)
    low, high = result["overall"]["likelihood"]["interval"]
    # The 2.5 % and 97.5 % quantiles of a binomial distribution with n = 10 and p = 1/2 are 2 and 8.
    assert (low, high) == (pytest.approx(0.2), pytest.approx(0.8))
    assert result["bootstrap"] == {"draws": 4000, "level": 0.95, "clusters": 10}
    assert summarise_options(predictions[:6], seed=0)["overall"]["likelihood"]["interval"] is None


def test_lines_are_read_back_and_the_table_has_every_category():
    for prediction in PREDICTIONS:
        assert (
            OptionPrediction.from_json(json.loads(json.dumps(prediction.to_json()))) == prediction
        )
    (text,) = further_tables(
        {"choices": {"test": {"zero_shot": summarise_options(PREDICTIONS, seed=0, draws=0)}}}
    )
    assert "| all | zero-shot | 0.50 | – | 0.33 | 3 | 1 | – |" in text
    assert np.all([name in text for name in ("| x |", "| y |", "without a category")])


def test_questions_about_the_same_samples_are_one_group(tmp_path):
    """A clip is the default group, here of processed records with the samples in their lines."""
    content = [{"type": "audio"}, {"type": "text", "text": "What?"}]
    lines = [
        {
            "prompt": [{"role": "user", "content": content}], "solution": "<answer>rain</answer>",
            "places": [{"options": ["rain", "a dog"]}], "audio": [level] * 1600,
        }
        for level in (0.25, 0.5, 0.25)
    ]  # fmt: skip
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = ProcessedTask()
    groups = []
    for record in task.read(file).records:
        reply = RecordReply(record, SimpleNamespace(task=task), "character")
        reply.reason = "not asked"
        groups += [prediction.group for prediction in reply.predictions()]
    assert groups[0] == groups[2] != groups[1]
