"""The reward ``pair_accuracy`` of scores of a pair's clips, compared with values by hand."""

import itertools

import numpy as np
import pytest

from dramaeval.data.raters import POSITIONAL
from dramaeval.data.records import Record
from dramaeval.tasks.question import AnswerField, PairPlace, Question, Target
from dramaeval.tasks.rubric import Dimension
from dramaeval.training.rewards.completion import Completion, FieldAnswer, read_completion
from dramaeval.training.rewards.exact import Exact
from dramaeval.training.rewards.pair_accuracy import PairAccuracy

PITCH = Dimension(
    key="pitch", annotation="pitch", title="Pitch", scale=(1, 2, 3, 4, 5), description="", scores={}
)


class VotedTask:
    """The methods of a task that `read_completion` uses."""

    def rater_info(self, record, dimension):
        return POSITIONAL

    def ratings(self, record, dimension):
        return record.ratings[dimension.annotation]


def read(text, order, votes=(2.0, 1.0, None, 0.0)):
    record = Record(
        file="x.jsonl", line=1, id="p", clip="a.wav", seconds=1.0, fields={}, ratings={"pitch": votes}
    )  # fmt: skip
    question = Question(
        messages=[], answer_fields=(AnswerField.of_score(PITCH),), key=("pitch", order),
        pair=PairPlace(order=order),
    )  # fmt: skip
    return read_completion(
        VotedTask(), record, question, {"pitch": Target(np.array([0.0, 0.5, 0.5]))}, group=0, text=text,
        tokens=3, finished=True,
    )  # fmt: skip


def scored(clip, score, votes, record="p"):
    """A completion about one clip; the votes are about clip a, from -1 to 1."""
    sign = 1 if clip == "a" else -1
    answer = FieldAnswer(
        dimension="pitch", scale=(1, 2, 3, 4, 5), options=False,
        choice=None if score is None else score - 1, ratings=tuple(sign * vote for vote in votes), wanted=None,
    )  # fmt: skip
    return Completion(
        id=record, group=0, text="", tokens=3, finished=True, well_formed=True, answers=(answer,),
        clip_of_pair=clip,
    )  # fmt: skip


def test_votes_are_negated_for_clip_b():
    a, b = read("<answer>4</answer>", "a"), read("<answer>2</answer>", "b")
    assert (a.clip_of_pair, b.clip_of_pair) == ("a", "b")
    assert (a.answers[0].score, b.answers[0].score) == (4, 2)
    assert a.answers[0].ratings == (1.0, 0.5, 0.0)
    assert b.answers[0].ratings == (-1.0, -0.5, 0.0)
    # A score has no target, and an unreadable answer is not the one that the label policy would write.
    unreadable = read("four", "a")
    assert a.answers[0].wanted is None
    assert Exact()([a, unreadable]) == [0.0, 0.0]


def test_a_score_is_compared_with_all_scores_of_the_other_clip():
    votes = (1.0, 1.0, 1.0)
    completions = [
        scored("a", 4, votes), scored("a", 2, votes), scored("a", None, votes),
        scored("b", 4, votes), scored("b", 1, votes), scored("b", None, votes),
    ]  # fmt: skip
    # Scores of b that can be read: 4 and 1. 4 ties with 4 and exceeds 1: (1/2 + 1)/2. 2 is below 4 and above 1: 1/2.
    # Scores of a: 4 and 2. 4 of b ties with 4 and exceeds 2: (1/2 + 0)/2. 1 is below both: 1.
    assert PairAccuracy()(completions) == [0.75, 0.5, 0.0, 0.25, 1.0, 0.0]


@pytest.mark.parametrize(
    ("votes", "higher", "equal", "lower"),
    [
        ((1.0, 1.0, -1.0), 1.0, 0.5, 0.0),  # the majority's clip
        ((1.0, 1.0, 0.0), 5 / 6, 0.5, 1 / 6),  # a third are ties: 2/3 + 1/6 and 1/6
        (
            (0.5,),
            0.75,
            0.5,
            0.25,
        ),  # "slightly a" counts half for a and half as a tie: 1/2 + 1/4 and 1/4
        ((1.0, -1.0), 0.5, 0.5, 0.5),  # each clip has one vote
        ((0.0, 0.0), 0.5, 0.5, 0.5),
    ],
)
def test_ties_count_half_for_every_answer(votes, higher, equal, lower):
    for score, expected in ((4, higher), (3, equal), (2, lower)):
        values = PairAccuracy()([scored("a", score, votes), scored("b", 3, votes)])
        assert values[0] == pytest.approx(expected)
        # The completion about clip b has the same agreement.
        assert values[1] == pytest.approx(expected)


def test_scores_are_compared_only_with_the_other_clip_of_the_same_pair():
    votes = (1.0,)
    alone = [scored("a", 4, votes), scored("a", 2, votes), scored("b", 1, votes, record="q")]
    assert PairAccuracy()(alone) == [0.0, 0.0, 0.0]
    assert PairAccuracy()([scored(None, 4, votes), scored(None, 2, votes)]) == [0.0, 0.0]


def test_the_mean_reward_is_the_expected_agreement_of_the_pair():
    # If the scores of both clips are drawn independently from 3 each, the expected agreement is the mean over the 9
    # combinations.
    votes, of_a, of_b = (1.0, 1.0, 0.0), (1, 3, 5), (2, 3, 3)
    values = PairAccuracy()(
        [*(scored("a", x, votes) for x in of_a), *(scored("b", y, votes) for y in of_b)]
    )
    agreed = [1.0 if x > y else 0.5 if x == y else 0.0 for x, y in itertools.product(of_a, of_b)]
    expected = 2 / 3 * np.mean(agreed) + 1 / 6
    assert np.mean(values[:3]) == pytest.approx(expected)
    assert np.mean(values[3:]) == pytest.approx(expected)
