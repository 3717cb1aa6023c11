"""Rewards, compared with values by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dramaeval.data.raters import POSITIONAL, RaterInfo
from dramaeval.data.records import Record
from dramaeval.errors import UserFacingError
from dramaeval.tasks.pair import ANSWERS, OUTCOMES
from dramaeval.tasks.question import AnswerField, PairPlace, Question, Target
from dramaeval.tasks.rubric import Dimension
from dramaeval.training.rewards.agreement import Agreement
from dramaeval.training.rewards.completion import (
    AnswerForm,
    Completion,
    FieldAnswer,
    read_completion,
)
from dramaeval.training.rewards.correlation import Correlation
from dramaeval.training.rewards.distance import Distance
from dramaeval.training.rewards.exact import Exact
from dramaeval.training.rewards.format import Format
from dramaeval.training.rewards.length import Length
from dramaeval.training.rewards.weighted_rewards import RewardError, WeightedRewards

DISTANCE = "dramaeval.training.rewards.distance.Distance"
PITCH = Dimension(
    key="pitch", annotation="pitch", title="Pitch", scale=(1, 2, 3, 4, 5), description="", scores={}
)
FIELD = AnswerField.of_score(PITCH)
QUESTION = Question(messages=[], answer_fields=(FIELD,), key=("pitch",))


def answer(choice, ratings=(4.0, 5.0, 3.0, 4.0), wanted=3, dimension="pitch", options=False):
    return FieldAnswer(
        dimension=dimension, scale=(1, 2, 3, 4, 5), options=options, choice=choice, ratings=ratings,
        wanted=wanted,
    )  # fmt: skip


def completion(*answers, record="a", tokens=7, group=0, **more):
    known = {"text": "<answer>4</answer>", "finished": True, "well_formed": True}
    return Completion(id=record, group=group, tokens=tokens, answers=answers, **(known | more))


def test_distance_is_one_minus_the_share_of_the_range():
    # The mean is 4; scores 4, 2 and none: distances 0, 2/4 and no answer at all.
    answers = [completion(answer(3)), completion(answer(1)), completion(answer(None))]
    assert Distance()(answers) == [1.0, 0.5, 0.0]
    assert Distance(squared=True)(answers) == [1.0, 0.75, 0.0]


def test_a_mean_rating_stands_for_the_distribution_of_largest_entropy():
    # If only the mean of 3 is known, each of the five scores has 1/5; |4 − 3| / 4 = 1/4.
    record = replace(_record({"pitch": (3.0,)}), raters={"pitch": RaterInfo(mean_only=True)})
    read = _read(record, "<answer>4</answer>")
    assert Distance()([read]) == [0.75]
    assert Agreement()([read]) == pytest.approx([0.2])


def test_missing_ratings_do_not_count():
    # (4 + 5) / 2 = 4.5 of the two raters who rated; |4 − 4.5| / 4 = 1/8
    record = _record({"pitch": (4.0, None, 5.0)})
    read = _read(record, "<answer>4</answer>")
    assert read.answers[0].ratings == (4.0, 5.0)
    assert Distance()([read]) == [0.875]
    assert Agreement()([read]) == [0.5]


def test_agreement_is_the_share_of_raters():
    # Of four raters two gave 4, one gave 5, none gave 1.
    answers = [completion(answer(choice)) for choice in (3, 4, 0, None)]
    assert Agreement()(answers) == [0.5, 0.25, 0.0, 0.0]


def test_exact_is_the_choice_of_the_label_policy():
    answers = [completion(answer(3)), completion(answer(4)), completion(answer(None))]
    assert Exact()(answers) == [1.0, 0.0, 0.0]


def test_several_fields_count_by_their_mean():
    two_fields = completion(answer(3), answer(1))
    assert Distance()([two_fields]) == [0.75]
    assert Exact()([two_fields]) == [0.5]


def test_length_decreases_linearly_from_free_to_most():
    answers = [completion(answer(3), tokens=tokens) for tokens in (7, 16, 40, 64, 88)]
    assert Length(free=16, most=64)(answers) == [0.0, 0.0, -0.5, -1.0, -1.5]
    with pytest.raises(ValueError, match="below most"):
        Length(free=64, most=16)


def test_correlation_is_the_share_of_pairs_in_the_order_of_the_ratings():
    # Clip a is rated 2 and b is rated 4; c has another dimension and is compared with none.
    low, high = (2.0, 2.0), (4.0, 4.0)
    answers = [
        completion(answer(0, low), record="a"),  # 1 < 3 and 1 < 2: both right
        completion(answer(2, low), record="a"),  # 3 = 3 half, 3 > 2 wrong: 1/4
        completion(answer(2, high), record="b"),  # 3 > 1 right, 3 = 3 half: 3/4
        completion(answer(1, high), record="b"),  # 2 > 1 right, 2 < 3 wrong: 1/2
        completion(answer(None, high), record="b"),
        completion(answer(4, high, dimension="tempo"), record="c"),
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
def test_only_exact_answers_are_well_formed(text, choice, well_formed):
    read = _read(_record({"pitch": (4.0,)}), text)
    assert (read.answers[0].choice, read.well_formed) == (choice, well_formed)
    assert Format()([read]) == [float(well_formed)]


def test_an_answer_that_does_not_end_is_not_well_formed():
    read = _read(_record({"pitch": (4.0,)}), "<answer>4</answer>", finished=False)
    assert (read.answers[0].choice, read.well_formed) == (3, False)


def test_any_thought_is_accepted():
    thoughtful = QUESTION.with_thought("as the record has it")
    form = AnswerForm.of(thoughtful)
    assert form.read("<think>of its own</think>\n<answer>2</answer>") == ((1,), True)
    assert form.read("<answer>2</answer>") == ((1,), False)


@pytest.mark.parametrize(
    ("text", "thought", "ended"),
    [
        ("<think>Calm.</think>\n<answer>2</answer>", "Calm.", True),
        ("<think>Calm and", "Calm and", False),
        ("<answer>2</answer>", None, True),
    ],
)
def test_the_thought_of_a_completion(text, thought, ended):
    thoughtful = AnswerForm.of(QUESTION.with_thought("as the record has it"))
    assert thoughtful.thought_in(text) == (thought, ended)
    assert AnswerForm.of(QUESTION).thought_in(text) == (None, True)


def test_all_fields_of_an_answer_are_read():
    fields = (
        AnswerField.of_score(PITCH, lead="<answer>[Pitch]", tail=""),
        AnswerField.of_score(PITCH, lead="[Tempo]"),
    )
    form = AnswerForm.of(Question(messages=[], answer_fields=fields, key=()))
    assert form.read("<answer>[Pitch]4[Tempo]1</answer>") == ((3, 0), True)
    assert form.read("<answer>[Pitch]4</answer>") == ((None, None), False)


def test_an_option_that_is_the_start_of_another_option_is_read():
    field = AnswerField(dimension=PITCH, choices=("no", "no (maybe)"), scale=(0, 1), options=True)
    form = AnswerForm.of(Question(messages=[], answer_fields=(field,), key=()))
    assert form.read("<answer>no (maybe)</answer>") == ((1,), True)
    assert form.read("<answer>no</answer>") == ((0,), True)


# Weighted sums of rewards


def of_length(completions, per_token=1.0):
    return [per_token * each.tokens for each in completions]


def raises_on_b(completions):
    return [1 / (each.id != "b") for each in completions]


def nan_on_b(completions):
    return [math.nan if each.id == "b" else 1 for each in completions]


def none_on_b(completions):
    return [None if each.id == "b" else 1 for each in completions]


def too_few(completions):
    return [1.0] * (len(completions) - 1)


def test_the_total_reward_is_the_weighted_sum_of_functions_and_classes():
    rewards = WeightedRewards(
        {
            "distance": {"_target_": DISTANCE, "squared": True, "weight": 2},
            "mine": {"_target_": f"{__name__}.of_length", "per_token": 0.5, "weight": 0.1},
            "off": {"_target_": "no.such.thing", "weight": 0},
        }
    )  # fmt: skip
    assert rewards.formula() == "2 × distance + 0.1 × mine"
    values = rewards([completion(answer(1)), completion(answer(3), tokens=9)])
    assert values.tolist() == [[0.75, 3.5], [1.0, 4.5]]
    # 2 × 0.75 + 0.1 × 3.5 and 2 × 1 + 0.1 × 4.5
    assert rewards.total(values).tolist() == pytest.approx([1.85, 2.45])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "raises_on_b",
            r"raised ZeroDivisionError: .*test_rewards\.py:\d+\)\. It fails on record b × pitch",
        ),
        ("nan_on_b", "returned nan for record b × pitch, answered '<answer>4</answer>'"),
        ("none_on_b", "returned None for record b × pitch"),
        ("too_few", "returned 2 values for 3 completions"),
    ],
)
def test_an_invalid_value_of_a_reward_is_an_error_that_names_the_record(name, message):
    rewards = WeightedRewards({"mine": {"_target_": f"{__name__}.{name}"}})
    with pytest.raises(RewardError, match=f"'mine' {message}") as raised:
        rewards([completion(answer(3), record=record) for record in "abc"])
    assert isinstance(raised.value, UserFacingError)  # shown without a traceback


def _record(ratings):
    return Record(
        file="x.jsonl", line=1, id="a", clip="a.wav", seconds=1.0, fields={}, ratings=ratings
    )


class _RatedTask:
    """The methods of a task that `read_completion` uses."""

    def rater_info(self, record, dimension):
        return record.raters.get(dimension.annotation, POSITIONAL)

    def ratings(self, record, dimension):
        return record.ratings[dimension.annotation]


def _read(record, text, finished=True):
    targets = {"pitch": Target(np.array([0, 0, 0, 1.0, 0]))}
    return read_completion(
        _RatedTask(), record, QUESTION, targets, group=0, text=text, tokens=7, finished=finished
    )


@pytest.mark.parametrize(("order", "better", "worse"), [("ab", "A", "B"), ("ba", "B", "A")])
def test_answers_about_pairs_are_rewarded_in_the_order_of_the_prompt(order, better, worse):
    # A vote of 2 counts for clip a, a vote of 1 half for a and half as a tie: a 0.75, tie 0.25, b 0; the mean is 0.75.
    field = AnswerField(dimension=PITCH, choices=ANSWERS, scale=OUTCOMES)
    question = Question(
        messages=[], answer_fields=(field,), key=("pitch", order), pair=PairPlace(order=order)
    )
    targets = {"pitch": Target(np.array([0.0, 0.25, 0.75]))}
    rewards = {}
    for text in ANSWERS:
        read = read_completion(
            _RatedTask(), _record({"pitch": (2.0, None, 1.0)}), question, targets, group=0,
            text=f"<answer>{text}</answer>", tokens=3, finished=True,
        )  # fmt: skip
        rewards[text] = [reward([read])[0] for reward in (Agreement(), Distance(), Exact())]
    assert rewards[better] == pytest.approx([0.75, 1 - 0.25 / 2, 1])
    assert rewards["tie"] == pytest.approx([0.25, 1 - 0.75 / 2, 0])
    assert rewards[worse] == pytest.approx([0, 1 - 1.75 / 2, 0])


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize("votes", [(2, 2, 2, 2, 0), (2, 2, 0, 0, 0), (2, -2, 0, 0), (-2, -2, 0)])
def test_mean_votes_are_rewarded_as_the_votes_themselves(order, votes):
    # Three outcomes have one distribution with a given mean and spread: the shares of the votes.
    field = AnswerField(dimension=PITCH, choices=ANSWERS, scale=OUTCOMES)
    question = Question(
        messages=[], answer_fields=(field,), key=("pitch", order), pair=PairPlace(order=order)
    )
    targets = {"pitch": Target(np.array([0.0, 0.25, 0.75]))}
    listed = _record({"pitch": tuple(map(float, votes))})
    info = RaterInfo(mean_only=True, std=float(np.std(votes)))
    as_mean = replace(_record({"pitch": (float(np.mean(votes)),)}), raters={"pitch": info})
    # The vote that each answer of `ANSWERS` (B, tie, A) stands for.
    meant = (-2, 0, 2) if order == "ab" else (2, 0, -2)
    expected = [votes.count(vote) / len(votes) for vote in meant]
    for record in (listed, as_mean):
        read = [
            read_completion(
                _RatedTask(), record, question, targets, group=0, text=f"<answer>{text}</answer>",
                tokens=3, finished=True,
            )
            for text in ANSWERS
        ]  # fmt: skip
        assert Agreement()(read) == pytest.approx(expected, abs=1e-5)
