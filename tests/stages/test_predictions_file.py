"""Predictions files are read back once, whatever characters an id holds."""

import json

from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.predictions import Prediction
from dramaeval.stages.predictions_file import read_phase


def test_ratings_and_options_come_back_by_split(tmp_path):
    rated = Prediction(
        id="a\u2028b\x85c\x0bd", dimension="pitch", scale=(1.0, 2.0), distribution=(0.25, 0.75),
        expected=1.75, ratings=(1.0, None, 2.0), state="scored", group="g\u2029",
    )  # fmt: skip
    asked = OptionPrediction(
        id="q", dimension="answer", options=("x", "y\x1c"), distribution=(0.5, 0.5), answer=0,
        state="scored",
    )  # fmt: skip
    file = tmp_path / "predictions.jsonl"
    lines = [{"split": "val", **rated.to_json()}, {"split": "test", **asked.to_json()}]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    file.write_text(text, encoding="utf-8")
    answers = read_phase(file)
    assert answers.ratings == {"val": [rated]}
    assert answers.options == {"test": [asked]}
