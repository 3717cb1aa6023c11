"""The spread between wordings, by hand, and greedy decoding of answers with several scores as a fixed point."""

import numpy as np
import pytest

from dramaeval.evaluation.consistent_answers import consistent_values, longest_answer
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.score_spread import with_wordings, wording_text
from dramaeval.evaluation.summary import summarise
from dramaeval.models.inputs.collation import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion


def prediction(at, wordings, rating):
    mean = float(np.mean(wordings))
    return Prediction(
        id=str(at), dimension="d", scale=(1.0, 2.0, 3.0, 4.0, 5.0), distribution=None, expected=mean,
        ratings=(rating,), state="scored", wordings=tuple(wordings),
    )  # fmt: skip


def test_the_spread_between_wordings_by_hand():
    predictions = [
        prediction(0, (1.0, 3.0), 1.0),
        prediction(1, (2.0, 2.0), 2.0),
        prediction(2, (3.0, 1.0), 3.0),
    ]
    summary = with_wordings(summarise(predictions, ["d"], seed=0, draws=0), predictions)
    result = summary["dimensions"]["d"]["wording"]
    # Variances 2, 0, 2; the first wording has the order of the ratings, the second the opposite order.
    assert result["spread"] == pytest.approx((4 / 3) ** 0.5)
    assert result["pearson"] == pytest.approx([1, -1])
    assert summary["macro"]["wording"]["pearson_range"] == pytest.approx(2)
    assert "Over 2 wordings a score varies by 1.155" in wording_text(summary)


def test_with_one_wording_there_are_no_metrics_of_wordings():
    predictions = [Prediction.from_json({**prediction(at, (2.0, 2.0), 2.0).to_json(), "wordings": None})
                   for at in range(3)]  # fmt: skip
    summary = with_wordings(summarise(predictions, ["d"], seed=0, draws=0), predictions)
    assert "wording" not in summary["macro"]
    assert wording_text(summary) is None


def record_with_fields(places):
    answer = AnswerTokens(scale=(1, 2, 3), lead=(9,), scores=(1, 2, 3), tail=())
    question = EncodedQuestion(prompt=(0,), answer=answer)
    return EncodedRecord(
        clips=(),
        questions=tuple(
            LabelledQuestion(question, continues_answer=at > 0) for at in range(places)
        ),
    )


def judge_of(rules, passes):
    """A judge whose likeliest choice in each field is a function of the choices in earlier fields."""

    def read(encoded_records):
        passes.append(len(encoded_records))
        result = []
        for encoded_record in encoded_records:
            written = [question.choice for question in encoded_record.questions]
            result.append([np.eye(3)[rules(written[:at])] for at in range(len(written))])
        return result

    return read


def test_the_fixed_point_equals_greedy_decoding():
    def rules(before):
        return (2 * sum(before) + len(before) ** 2) % 3 if before else 2

    greedy = []
    for _ in range(6):
        greedy.append(rules(greedy))
    passes = []
    (values,) = consistent_values([record_with_fields(6)], judge_of(rules, passes))
    assert [int(entry.argmax()) for entry in values] == greedy
    assert len(passes) <= 7


def test_passes_end_when_the_values_are_confirmed():
    passes = []
    # The choices do not depend on earlier ones: the first pass finds them and the second confirms them.
    consistent_values(
        [record_with_fields(5), record_with_fields(1)], judge_of(lambda before: 0, passes)
    )
    assert passes == [2, 1]
    passes.clear()
    consistent_values(
        [record_with_fields(1), record_with_fields(1)], judge_of(lambda before: 0, passes)
    )
    assert passes == [2]
    passes.clear()
    # The first pass assumes the middle of the scale, which is confirmed at once.
    consistent_values([record_with_fields(4)], judge_of(lambda before: 1, passes))
    assert passes == [1]


def test_every_process_makes_the_required_number_of_passes():
    for rules in (lambda before: 0, lambda before: (sum(before) + 1) % 3):
        passes = []
        consistent_values([record_with_fields(4)], judge_of(rules, passes), passes_required=5)
        assert len(passes) == 5
    assert longest_answer([record_with_fields(1), record_with_fields(4)]) == 4
