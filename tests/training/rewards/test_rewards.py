"""Rewards, by hand."""

import math

import numpy as np
import pytest

from dramaeval.data.records import Record
from dramaeval.tasks.question import AnswerField, Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Target
from dramaeval.training.rewards.agreement import Agreement
from dramaeval.training.rewards.completion import Completion, Form, Given, completion_of
from dramaeval.training.rewards.composition import RewardError, WeightedRewards
from dramaeval.training.rewards.correlation import Correlation
from dramaeval.training.rewards.distance import Distance
from dramaeval.training.rewards.exact import Exact
from dramaeval.training.rewards.format import Format
from dramaeval.training.rewards.length import Length

DISTANCE = "dramaeval.training.rewards.distance.Distance"
PITCH = Dimension(
    key="pitch", annotation="pitch", title="Pitch", scale=(1, 2, 3, 4, 5), description="", scores={}
)
PLACE = AnswerField.of_score(PITCH)
QUESTION = Question(messages=[], places=(PLACE,), key=("pitch",))


def given(choice, ratings=(4.0, 5.0, 3.0, 4.0), wanted=3, dimension="pitch", options=False):
    return Given(
        dimension=dimension, scale=(1, 2, 3, 4, 5), options=options, choice=choice, ratings=ratings,
        wanted=wanted,
    )  # fmt: skip


def completion(*places, record="a", tokens=7, group=0, **more):
    known = {"text": "<answer>4</answer>", "finished": True, "well_formed": True}
    return Completion(id=record, group=group, tokens=tokens, given=places, **(known | more))


def test_distance_is_one_minus_the_share_of_the_range():
    # The mean is 4; scores 4, 2 and none: distances 0, 2/4 and no answer at all.
    answers = [completion(given(3)), completion(given(1)), completion(given(None))]
    assert Distance()(answers) == [1.0, 0.5, 0.0]
    assert Distance(squared=True)(answers) == [1.0, 0.75, 0.0]


def test_missing_ratings_do_not_count():
    # (4 + 5) / 2 = 4.5 of the two raters who rated; |4 − 4.5| / 4 = 1/8
    record = _record({"pitch": (4.0, None, 5.0)})
    one = _read(record, "<answer>4</answer>")
    assert one.given[0].ratings == (4.0, 5.0)
    assert Distance()([one]) == [0.875]
    assert Agreement()([one]) == [0.5]


def test_agreement_is_the_share_of_raters():
    # Of four raters two gave 4, one gave 5, none gave 1.
    answers = [completion(given(choice)) for choice in (3, 4, 0, None)]
    assert Agreement()(answers) == [0.5, 0.25, 0.0, 0.0]


def test_exact_is_what_the_label_policy_would_have_written():
    answers = [completion(given(3)), completion(given(4)), completion(given(None))]
    assert Exact()(answers) == [1.0, 0.0, 0.0]


def test_several_places_count_by_their_mean():
    both = completion(given(3), given(1))
    assert Distance()([both]) == [0.75]
    assert Exact()([both]) == [0.5]


def test_length_is_a_line():
    answers = [completion(given(3), tokens=tokens) for tokens in (7, 16, 40, 64, 88)]
    assert Length(free=16, most=64)(answers) == [0.0, 0.0, -0.5, -1.0, -1.5]
    with pytest.raises(ValueError, match="below most"):
        Length(free=64, most=16)


def test_correlation_counts_pairs_ordered_as_by_raters():
    # Clip a is rated 2, b is rated 4; c asks for another dimension and has no partner.
    low, high = (2.0, 2.0), (4.0, 4.0)
    answers = [
        completion(given(0, low), record="a"),  # 1 < 3 and 1 < 2: both right
        completion(given(2, low), record="a"),  # 3 = 3 half, 3 > 2 wrong: 1/4
        completion(given(2, high), record="b"),  # 3 > 1 right, 3 = 3 half: 3/4
        completion(given(1, high), record="b"),  # 2 > 1 right, 2 < 3 wrong: 1/2
        completion(given(None, high), record="b"),
        completion(given(4, high, dimension="tempo"), record="c"),
    ]
    assert Correlation()(answers) == [1.0, 0.25, 0.75, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "choice", "well_formed"),
    [
        ("<answer>4</answer>", 3, True),
        ("I say <answer>4</answer>", 3, False),
        ("<answer>4</answer> ", 3, False),
        ("<answer> 4</answer>", None, False),
        ("<answer>6</answer>", None, False),
        ("<answer>4</answer><answer>5</answer>", None, False),
        ("<answer>4", None, False),
        ("", None, False),
    ],
)
def test_how_an_answer_is_read(text, choice, well_formed):
    one = _read(_record({"pitch": (4.0,)}), text)
    assert (one.given[0].choice, one.well_formed) == (choice, well_formed)
    assert Format()([one]) == [float(well_formed)]


def test_an_answer_that_does_not_end_is_not_well_formed():
    one = _read(_record({"pitch": (4.0,)}), "<answer>4</answer>", finished=False)
    assert (one.given[0].choice, one.well_formed) == (3, False)


def test_a_thought_is_the_judges_own():
    thoughtful = QUESTION.after("as the record has it")
    form = Form.of(thoughtful)
    assert form.read("<think>of its own</think>\n<answer>2</answer>") == ((1,), True)
    assert form.read("<answer>2</answer>") == ((1,), False)


def test_all_places_of_an_answer_are_read():
    places = (
        AnswerField.of_score(PITCH, lead="<answer>[Pitch]", tail=""),
        AnswerField.of_score(PITCH, lead="[Tempo]"),
    )
    form = Form.of(Question(messages=[], places=places, key=()))
    assert form.read("<answer>[Pitch]4[Tempo]1</answer>") == ((3, 0), True)
    assert form.read("<answer>[Pitch]4</answer>") == ((None, None), False)


def test_options_are_whole_texts():
    place = AnswerField(dimension=PITCH, choices=("no", "no (maybe)"), scale=(0, 1), options=True)
    form = Form.of(Question(messages=[], places=(place,), key=()))
    assert form.read("<answer>no (maybe)</answer>") == ((1,), True)
    assert form.read("<answer>no</answer>") == ((0,), True)


# Composition


def of_length(completions, per_token=1.0):
    return [per_token * one.tokens for one in completions]


def raises_on_b(completions):
    return [1 / (one.id != "b") for one in completions]


def nan_on_b(completions):
    return [math.nan if one.id == "b" else 1 for one in completions]


def none_on_b(completions):
    return [None if one.id == "b" else 1 for one in completions]


def one_too_few(completions):
    return [1.0] * (len(completions) - 1)


def test_functions_and_classes_have_weights():
    rewards = WeightedRewards(
        {
            "distance": {"_target_": DISTANCE, "squared": True, "weight": 2},
            "mine": {"_target_": f"{__name__}.of_length", "per_token": 0.5, "weight": 0.1},
            "off": {"_target_": "no.such.thing", "weight": 0},
        }
    )  # fmt: skip
    assert rewards.in_words() == "2 × distance + 0.1 × mine"
    found = rewards([completion(given(1)), completion(given(3), tokens=9)])
    assert found == {"distance": [0.75, 1.0], "mine": [3.5, 4.5]}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises_on_b", "raised ZeroDivisionError: .* It fails on record b × pitch"),
        ("nan_on_b", "returned nan for record b × pitch, answered '<answer>4</answer>'"),
        ("none_on_b", "returned None for record b × pitch"),
        ("one_too_few", "returned 2 values for 3 completions"),
    ],
)
def test_a_reward_that_cannot_be_counted_names_the_record(name, said):
    rewards = WeightedRewards({"mine": {"_target_": f"{__name__}.{name}"}})
    with pytest.raises(RewardError, match=f"'mine' {said}"):
        rewards([completion(given(3), record=one) for one in "abc"])


def _record(ratings):
    return Record(
        file="x.jsonl", line=1, id="a", clip="a.wav", seconds=1.0, fields={}, ratings=ratings
    )


def _read(record, text, finished=True):
    class Rated:
        def ratings(self, record, dimension):
            return record.ratings[dimension.annotation]

    targets = {"pitch": Target(np.array([0, 0, 0, 1.0, 0]))}
    return completion_of(
        Rated(), record, QUESTION, targets, group=0, text=text, tokens=7, finished=finished
    )
