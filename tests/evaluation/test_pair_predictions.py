"""A prediction about a pair of clips, and its line in a file."""

import json

import pytest

from dramaeval.data.raters import UNKNOWN_RATERS, RaterInfo
from dramaeval.evaluation.pair_predictions import PairPrediction, is_pair_line
from dramaeval.evaluation.predictions import prediction_line

VALUES = {
    "id": "p1",
    "dimension": "overall",
    "p_a": 0.5,
    "p_tie": 0.2,
    "p_b": 0.3,
    "votes": (1.0, 0.0, -0.5, None),
    "clip_a": "a.wav",
    "clip_b": "b.wav",
}
ORDERS = {"order_ab": (0.6, 0.2, 0.2), "order_ba": (0.4, 0.2, 0.4)}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": "x", "system_a": "s", "system_b": "t", "margin": -0.25, "language": "en"},
        {**ORDERS, "raters": RaterInfo(ids=("r", "s", "t", "u"))},
        {"votes": (), "raters": UNKNOWN_RATERS},
    ],
)
def test_a_line_reads_back_as_the_same_prediction(fields):
    prediction = PairPrediction(**{**VALUES, **fields})
    values = json.loads(prediction_line(prediction))
    assert PairPrediction.from_json(values) == prediction
    assert is_pair_line(values)
    assert not is_pair_line({"id": "p1", "expected": 2.0})


def test_the_mean_vote_leaves_out_missing_votes():
    prediction = PairPrediction(**VALUES)
    assert prediction.mean_vote == pytest.approx(0.5 / 3)
    assert PairPrediction(**{**VALUES, "votes": (None,)}).mean_vote is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"p_a": 0.6}, "p_a, p_tie, p_b sum to 1.1"),
        ({"p_a": -0.5, "p_tie": 1.2}, "negative"),
        ({"p_a": float("nan")}, "undefined"),
        ({"votes": (2.0,)}, "votes hold 2.0"),
        ({"votes": (float("nan"),)}, "votes hold nan"),
        ({"raters": RaterInfo(ids=("r",))}, "1 names for 4 votes"),
        ({"margin": float("inf")}, "margin is inf"),
        ({"clip_b": "a.wav"}, "the same file, a.wav"),
        ({"order_ab": (0.5, 0.2, 0.3)}, "need each other"),
        ({**ORDERS, "order_ba": (0.2, 0.2, 0.6)}, "the means of the two orders are 0.4, 0.2, 0.4"),
        ({**ORDERS, "order_ba": (0.4, 0.4, 0.4)}, "order_ba sum to 1.2"),
    ],
)
def test_values_that_contradict_each_other_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PairPrediction(**{**VALUES, **wrong})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"p_a": None}, "'p_a' must be a number, not null"),
        ({"p_tie": "0.2"}, "'p_tie' must hold finite numbers"),
        ({"votes": 1}, "'votes' must be a list, not a number"),
        ({"id": 3}, "'id' must be text, not a number"),
        ({"clip_b": ""}, "'clip_b' must be text"),
        ({"order_ab": [0.5, 0.5], "order_ba": [0.5, 0.5]}, "order_ab has 2 values, not 3"),
        ({"raters": ["r"]}, "a name for each of the 4 ratings"),
    ],
)
def test_bad_json_values_are_named(wrong, message):
    values = {**PairPrediction(**VALUES).to_json(), **wrong}
    with pytest.raises(ValueError, match=message):
        PairPrediction.from_json(values)


def test_a_missing_key_is_named():
    values = PairPrediction(**VALUES).to_json()
    del values["votes"], values["margin"]
    with pytest.raises(ValueError, match="'votes' must be a list, not absent"):
        PairPrediction.from_json(values)
