"""Collation: only the tokens of the answers are trained, and scores may have several tokens."""

from functools import partial

import numpy as np
import pytest
import torch

from dramaeval.config.schema import PACKAGE
from dramaeval.data.records import read_records
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.dump import dump, dump_text
from dramaeval.models.inputs.question_encoder import QuestionEncoder, TokenizationError
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task
from dramaeval.tasks.question import AnswerField, Question
from dramaeval.tasks.rubric import Dimension


@pytest.fixture
def batch_of(composed, make_clips):
    family = Qwen2Audio(path=str(PACKAGE / "models" / "tiny"))
    processor = family.processor()

    def build(shared_prefix, side="left"):
        processor.tokenizer.padding_side = side
        task = build_task(composed())
        file = make_clips("clip", 3, seconds=(0.4, 2.0, 1.1))
        records = read_records(file, task.record_format()).records
        record_encoder = RecordEncoder(task, processor, family, max_seconds=30, cache_clips=8)
        rng = np.random.default_rng(0)
        dimensions = task.dimensions[:3]
        encoded = [
            record_encoder.encode(
                record,
                dimensions,
                [task.target(record, dimension, rng) for dimension in dimensions],
            )
            for record in records
        ]
        return (
            collate(encoded, pad=record_encoder.pad, shared_prefix=shared_prefix),
            processor.tokenizer,
            records,
        )

    return build


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("shared_prefix", [True, False])
def test_only_answers_are_trained(batch_of, shared_prefix, side):
    batch, tokenizer, records = batch_of(shared_prefix, side)
    trained = [token for token in dump(batch, tokenizer) if token.trained is not None]
    by_question = [trained[start : start + 7] for start in range(0, len(trained), 7)]
    assert len(by_question) == batch.questions == 9
    for at, answer in enumerate(by_question):
        text = "".join(token.trained for token in answer)
        ratings = list(records[at // 3].ratings.values())[at % 3]
        likeliest = max(range(1, 6), key=lambda k: (ratings.count(k), -k))
        assert text == f"<answer>{likeliest}</answer><|im_end|>"
        with_target = [token for token in answer if token.target]
        assert len(with_target) == 1
        assert with_target[0].target == {
            k: pytest.approx(ratings.count(k) / 6, abs=1e-4) for k in range(1, 6)
        }


def test_the_answer_follows_the_header_of_the_assistant_turn(batch_of):
    batch, tokenizer, _ = batch_of(shared_prefix=False)
    rows = {}
    for token in dump(batch, tokenizer):
        rows.setdefault(token.row, []).append(token)
    for row in rows.values():
        first = next(at for at, token in enumerate(row) if token.trained)
        # The chat template ends with the header of the answer.
        before = tokenizer.convert_tokens_to_string(
            [token.token for token in row[first - 6 : first + 1]]
        )
        assert before.endswith("<|im_start|>assistant\n")
        # Each trained token is the next input; the last has no next input.
        for here, after in zip(row[first:], row[first + 1 : first + 7], strict=False):
            assert here.trained == after.token or here is row[first + 6]


def test_the_text_of_a_dump_has_audio_tokens_labels_and_targets(batch_of):
    batch, tokenizer, _ = batch_of(shared_prefix=True)
    text = dump_text(batch, tokenizer)
    assert "<|AUDIO|> × 50" in text  # 2.0 s with 25 tokens per second
    assert "→ <|im_end|>" in text
    assert "target {1.0:" in text


def encode_scale(scale, tokenise=None):
    """Encode a question whose answer is a score of a scale."""
    family = Qwen2Audio(path=str(PACKAGE / "models" / "tiny"))
    processor = family.processor()
    encoder = QuestionEncoder(
        processor.tokenizer,
        end_of_turn=family.turn_end,
        render=partial(family.render, processor),
        tokenise=tokenise or partial(family.tokenise, processor),
    )
    dimension = Dimension(
        key="a", annotation="a", title="A", scale=scale, description="", scores={}
    )
    question = Question(
        messages=[{"role": "user", "content": "?"}],
        answer_fields=(AnswerField.of_score(dimension),),
        key=("a",),
    )
    return encoder.encode_question(question)


def test_a_score_merged_with_the_text_after_it_is_scored_with_that_text():
    (question,) = encode_scale(
        (1, 2, 3), tokenise=lambda text: list(map(ord, text.replace("2<", "Ω")))
    )
    assert not question.answer.scores
    # The text after the score begins with "/", where all answers have the same tokens to the end.
    assert question.answer.paths == tuple(tuple(map(ord, text)) for text in ("1</", "Ω/", "3</"))
    assert question.answer.ending == 1


def test_a_tokenizer_that_merges_the_beginning_of_the_answer_is_refused():
    with pytest.raises(TokenizationError, match="scores 1, 2"):
        encode_scale((1, 2), tokenise=lambda text: list(map(ord, text.replace("\n<answer>1", "Ω"))))


@pytest.mark.parametrize("scale", [(1, 10), (10, 20), (1, 5, 10, 100)])
def test_tokens_of_scores_with_several_tokens_decode_to_the_answers(scale):
    (question,) = encode_scale(scale)
    tokenizer = Qwen2Audio(path=str(PACKAGE / "models" / "tiny")).processor().tokenizer
    answer = question.answer
    written = [tokenizer.decode([*answer.lead, *path]) for path in answer.paths]
    end = tokenizer.decode(answer.tail[: answer.ending])
    assert written == [f"<answer>{score}{end}" for score in scale]
    whole = [tokenizer.decode([*answer.lead, *c, *answer.tail]) for c in answer.choice_tokens]
    assert whole == [f"<answer>{score}</answer><|im_end|>" for score in scale]


def test_targets_sum_to_1(batch_of):
    batch, _, _ = batch_of(shared_prefix=True)
    torch.testing.assert_close(batch.targets.sum(-1), torch.ones(9))
