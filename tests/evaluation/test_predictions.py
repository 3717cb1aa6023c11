"""Predictions: derived values, reading and writing, contradicting values, and errors about lines of a file."""

import json
import math
from pathlib import Path

import pytest

from dramaeval.data.raters import RaterInfo
from dramaeval.evaluation.predictions import (
    Prediction,
    PredictionsError,
    prediction_line,
    read_predictions,
)

SCALE = (1.0, 2.0, 3.0, 4.0, 5.0)


def scored(**changes: object) -> Prediction:
    values: dict[str, object] = {
        "id": "clip-1",
        "dimension": "trait_embodiment",
        "scale": SCALE,
        "distribution": (0.0, 0.0, 0.5, 0.0, 0.5),
        "expected": 4.0,
        "ratings": (5.0, None, 4.0),
        "state": "scored",
    }
    return Prediction(**(values | changes))  # type: ignore[arg-type]  # the keys are those above


def unscored(**changes: object) -> Prediction:
    return scored(distribution=None, expected=None, state="no answer", **changes)


def test_mean_rating_leaves_missing_ratings_out() -> None:
    assert scored().mean_rating == 4.5  # (5 + 4) / 2
    assert scored(ratings=(None, None)).mean_rating is None
    assert scored(ratings=()).mean_rating is None


def test_spread_is_the_standard_deviation_of_the_distribution() -> None:
    assert scored().spread == 1.0  # mean 4; half at 3, half at 5: deviation 1
    assert unscored().spread is None


def test_a_file_is_read_back_as_written(tmp_path: Path) -> None:
    written = [
        scored(group="Élan 角色", system="tts-a"),
        unscored(id="clip-2"),
        scored(id="clip-3", scale=(0.0, 1.0), distribution=(0.25, 0.75), expected=0.75, ratings=()),
        scored(id="clip-4", distribution=None),
        scored(id="clip-5", raters=RaterInfo(ids=("ann", "bo", "cy"))),
        scored(id="clip-6", raters=RaterInfo(unknown=True)),
        scored(id="clip-7", ratings=(3.4,), raters=RaterInfo(mean_only=True, std=0.5, count=9)),
    ]
    path = tmp_path / "predictions.jsonl"
    path.write_text(
        "".join(f"{prediction_line(prediction)}\n" for prediction in written), encoding="utf-8"
    )
    assert read_predictions(path) == written


def test_every_line_has_the_same_keys() -> None:
    keys = ["id", "dimension", "scale", "distribution", "expected"]
    keys += ["ratings", "state", "group", "system", "wordings", "raters"]
    assert list(json.loads(prediction_line(scored()))) == keys
    assert list(json.loads(prediction_line(unscored()))) == keys


def test_booleans_are_the_scores_of_a_pass_fail_scale() -> None:
    values = scored(scale=(0.0, 1.0), distribution=None, expected=0.5, ratings=(1.0, 0.0)).to_json()
    assert Prediction.from_json(values | {"ratings": [True, False, None]}).ratings == (1, 0, None)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ratings": (6.0,)}, "ratings hold 6.0, off the scale 1-5"),
        ({"scale": (3.0, 1.0)}, "rising order"),
        ({"distribution": (0.5, 0.5)}, "2 values for 5 scores"),
        ({"distribution": (0.5, 0.5, 0.5, 0.0, 0.0)}, "sums to 1.5"),
        ({"distribution": (1.5, -0.5, 0.0, 0.0, 0.0)}, "negative"),
        ({"distribution": (math.nan, 0.0, 0.0, 0.0, 1.0)}, "undefined"),
        ({"expected": 3.5}, "distribution's mean is 4"),
        ({"expected": 5.5, "distribution": None}, "expected is 5.5, off the scale"),
        ({"expected": math.nan, "distribution": None}, "off the scale"),
        ({"expected": None}, "expected is missing"),
        ({"state": "audio unreadable"}, "state is 'audio unreadable', yet"),
    ],
)
def test_contradicting_values_are_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        scored(**changes)


def test_every_bad_line_is_named_with_its_file(tmp_path: Path) -> None:
    good = scored().to_json()
    lines = [
        json.dumps(good),
        "{not json",
        json.dumps({key: value for key, value in good.items() if key != "ratings"}),
        "",
        json.dumps(good | {"id": "b", "expected": "4"}),
        json.dumps(good | {"id": "c", "expected": math.nan}),
        json.dumps(good),
        json.dumps(good | {"id": "d", "ratings": ["N/A"]}),
        "[1]",
    ]
    path = tmp_path / "old.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(PredictionsError) as caught:
        read_predictions(path)
    message = str(caught.value)
    assert str(path) in message
    assert "7 bad lines" in message
    assert "line 3: 'ratings' must be a list, not absent" in message
    assert "line 5: 'expected' must hold finite numbers, not '4'" in message
    assert "line 6: 'expected' must hold finite numbers, not nan" in message
    assert "line 7: clip-1 × trait_embodiment is already on line 1" in message
    assert "line 8: 'ratings' must hold finite numbers, not 'N/A'" in message
    assert "line 9: a prediction is a JSON object, not a list" in message
