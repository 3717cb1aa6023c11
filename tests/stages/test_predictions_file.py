"""Predictions files are read back unchanged, with any characters in their texts."""

import json
from types import SimpleNamespace

import pytest

from dramaeval.data.jsonl import json_lines, read_lines
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.prediction_stream import resume
from dramaeval.evaluation.predictions import Prediction, read_predictions
from dramaeval.evaluation.report.read_results import read_run
from dramaeval.stages.predictions_file import read_phase


def test_ratings_and_options_are_read_back_by_split(tmp_path):
    rated = Prediction(
        id="a\u2028b\x85c\x0bd", dimension="pitch", scale=(1.0, 2.0), distribution=(0.25, 0.75),
        expected=1.75, ratings=(1.0, None, 2.0), state="scored", group="g\u2029",
    )  # fmt: skip
    chosen = OptionPrediction(
        id="q", dimension="answer", options=("x", "y\x1c"), distribution=(0.5, 0.5), answer=0,
        state="scored",
    )  # fmt: skip
    file = tmp_path / "predictions.jsonl"
    lines = [{"split": "val", **rated.to_json()}, {"split": "test", **chosen.to_json()}]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    file.write_text(text, encoding="utf-8")
    answers = read_phase(file)
    assert answers.ratings == {"val": [rated]}
    assert answers.options == {"test": [chosen]}


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_every_reader_of_json_lines_splits_at_line_feeds_only(tmp_path, character):
    """`str.splitlines` splits at each of these characters, which JSON texts may contain unescaped."""
    rated = Prediction(
        id=f"a{character}b", dimension="pitch", scale=(1.0, 2.0), distribution=None, expected=1.5,
        ratings=(1.0, 2.0), state="scored", system=f"s{character}t", group=character,
    )  # fmt: skip
    file = tmp_path / "predictions.jsonl"
    line = {"split": "test", **rated.to_json()}
    file.write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [number for number, _ in json_lines(file)] == [1]
    assert read_predictions(file) == [rated]
    assert read_phase(file).ratings == {"test": [rated]}
    assert read_run(tmp_path, "run", "test", None).predictions == [rated]
    assert read_lines(file)[0].fields == line
    record = SimpleNamespace(id=rated.id)
    assert resume(file, [record], lambda _: 1) == []
