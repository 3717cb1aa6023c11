"""The state of one record during scoring: its questions, the judge's answers, and the predictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of, sample_group
from dramaeval.evaluation.consistent_answers import AnswerValues
from dramaeval.evaluation.option_predictions import OptionPrediction, option_of
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pair_reply import pair_predictions
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.models.forward.generation import GeneratedText, Sampling, generate
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.question_encoder import QuestionEncoder
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.question import (
    LEAD,
    TAIL,
    THINK,
    THOUGHT,
    AnswerField,
    Question,
    ThoughtSampling,
)
from dramaeval.tasks.rubric import Dimension

AnyPrediction = Prediction | OptionPrediction | PairPrediction
NOT_FINITE = "the judge's distribution is not finite"


class RecordReply:
    """A record's questions and the judge's answers to them.

    Args:
        record: the record.
        record_encoder: prepares the record; its task defines the questions.
        group_by: key of the records that clusters the bootstrap.
        keep_thoughts: whether predictions have the texts of generated thoughts.
    """

    def __init__(
        self,
        record: Record,
        record_encoder: RecordEncoder,
        group_by: str,
        *,
        keep_thoughts: bool = False,
    ) -> None:
        self.record = record
        self.record_encoder = record_encoder
        self.task = record_encoder.task
        self.group = group_of(record, group_by)
        self.keep_thoughts = keep_thoughts
        self.questions: list[Question] = self.task.questions(
            record, self.task.dimensions_for(record)
        )
        self.encoded_record: EncodedRecord | None = None
        self.values: AnswerValues = []
        self.written: list[GeneratedText] | None = None
        #: Why the record cannot be scored; and by index of a question, why this question cannot be scored.
        self.reason: str | None = None
        self.failed: dict[int, str] = {}
        #: The generated thoughts, and their number per question; `questions` has a question for each thought.
        self.thoughts: list[str] = []
        self.samples = 1

    def prepare(self) -> None:
        """Encode the record; raises BadRecordsError if the clip cannot be decoded."""
        if self.questions:
            self.encoded_record = self.record_encoder.encode(self.record, self.questions)

    @property
    def max_tokens(self) -> int:
        """The maximum number of tokens that the judge generates about this record; 0 if it generates nothing."""
        return self.task.max_written_tokens(self.record)

    @property
    def generates_thought(self) -> bool:
        """Whether the judge generates thoughts before the answers."""
        return any(question.generates_thought for question in self.questions)

    @property
    def thought_sampling(self) -> ThoughtSampling | None:
        """How thoughts are sampled, the same for all questions about a record; None for greedy thoughts."""
        return self.questions[0].thought_sampling if self.questions else None

    def thought_seeds(self, sampling: ThoughtSampling) -> list[list[int]]:
        """A seed for each thought about each question, from the sampling seed, the record and the question."""
        return [
            [
                seed_of(sampling.seed, self.record.id, *question.key, n)
                for n in range(sampling.samples)
            ]
            for question in self.questions
        ]

    @property
    def chooses(self) -> bool:
        """Whether the judge generates answers to multiple-choice questions."""
        options = all(
            field.options for question in self.questions for field in question.answer_fields
        )
        return options and self.max_tokens > 0

    def add_thoughts(self, thoughts: Sequence[GeneratedText]) -> None:
        """Put generated thoughts before the answers; a thought with markup or without an end leaves it unscored.

        Several thoughts about a question follow each other in ``thoughts``; the question is repeated for each of them.
        """
        texts = []
        self.samples = len(thoughts) // len(self.questions)
        self.thoughts = [thought.text for thought in thoughts]
        repeated = [question for question in self.questions for _ in range(self.samples)]
        for number, thought in enumerate(thoughts):
            reason = self.record_encoder.text_check.problem_of(thought.text)
            if not thought.finished:
                self.failed[number] = f"the thought did not end within {self.max_tokens} tokens"
            elif reason:
                self.failed[number] = f"the thought {reason.problem}"
            texts.append("" if reason else thought.text)
        self.questions = [
            question.with_thought(text) for question, text in zip(repeated, texts, strict=True)
        ]
        self.prepare()

    def predictions(self) -> list[AnyPrediction]:
        """Make one prediction for each dimension, in the order of the questions: the mean over wordings and thoughts.

        A pair that cannot be compared has no prediction; this is logged.
        """
        if any(question.pair for question in self.questions):
            return list(
                pair_predictions(self.record, self.task, self.questions, self.values, self.reason)
            )
        by_key: dict[str, list[tuple[int, AnswerField, np.ndarray | None]]] = {}
        remaining = iter(self.values)
        for number, question in enumerate(self.questions):
            for field in question.answer_fields:
                answer = (number, field, next(remaining, None))
                by_key.setdefault(field.dimension.key, []).append(answer)
        predictions: list[AnyPrediction] = []
        for answers in by_key.values():
            number, field, first = answers[0]
            numbers = [number for number, _, _ in answers]
            rows = [None if number in self.failed else row for number, _, row in answers]
            reason = self.reason or self._failure(numbers)
            if reason is None and not all(
                np.isfinite(row).all() for row in rows if row is not None
            ):
                reason = NOT_FINITE
            if field.options:
                predictions.append(self._option(number, field, first, reason))
            elif reason:
                predictions.append(self._unscored(field.dimension, numbers, reason))
            else:
                predictions.append(self._scored(field.dimension, numbers, rows))
        return predictions

    def _failure(self, numbers: Sequence[int]) -> str | None:
        """Why a dimension has no score: no thought about one of its questions can be used; None otherwise."""
        for same_question in self._by_question(numbers):
            if all(number in self.failed for number in same_question):
                return self.failed[same_question[0]]
        return None

    def _by_question(self, values: Sequence[Any]) -> list[Sequence[Any]]:
        """The values of all thoughts, divided by question."""
        starts = range(0, len(values), self.samples)
        return [values[start : start + self.samples] for start in starts]

    def _scored(
        self, dimension: Dimension, numbers: Sequence[int], rows: Sequence[np.ndarray | None]
    ) -> Prediction:
        scale = np.array(dimension.scale, dtype=np.float64)
        distribution = thoughts = None
        values = [row for row in rows if row is not None]
        if len(values[0]) > 1:
            if self.samples > 1:
                thoughts = tuple(
                    None if r is None else float(r[: len(scale)] @ scale) for r in rows
                )
            distributions = [
                np.mean([row for row in answers if row is not None], axis=0)[: len(scale)]
                for answers in self._by_question(rows)
            ]
            distribution = tuple(np.mean(distributions, axis=0).tolist())
            scores = [float(p @ scale) for p in distributions]
        else:  # a regression head returns the score alone
            scores = [float(row[0]) for row in values]
        return Prediction(
            distribution=distribution,
            expected=float(np.mean(scores)),
            state=SCORED,
            wordings=tuple(scores) if len(scores) > 1 else None,
            thoughts=thoughts,
            **self._about(dimension, numbers),
        )

    def _unscored(self, dimension: Dimension, numbers: Sequence[int], reason: str) -> Prediction:
        about = self._about(dimension, numbers)
        thoughts = (None,) * len(numbers) if self.samples > 1 else None
        return Prediction(
            distribution=None, expected=None, state=reason, thoughts=thoughts, **about
        )

    def _about(self, dimension: Dimension, numbers: Sequence[int]) -> dict[str, Any]:
        keeps = self.keep_thoughts and self.thoughts
        return {
            "thought_texts": tuple(self.thoughts[number] for number in numbers) if keeps else None,
            "id": self.record.id,
            "dimension": dimension.key,
            "scale": tuple(float(score) for score in dimension.scale),
            "ratings": self.task.ratings(self.record, dimension),
            "raters": self.task.rater_info(self.record, dimension),
            "group": self.group,
            "system": self.record.system,
        }

    def _option(
        self, number: int, field: AnswerField, row: np.ndarray | None, reason: str | None
    ) -> OptionPrediction:
        answers = [r for r in self.task.ratings(self.record, field.dimension) if r is not None]
        distribution = None
        if reason is None and row is not None:
            distribution = tuple(row[: len(field.choices)].tolist())
        prediction = OptionPrediction(
            id=self.record.id,
            dimension=field.dimension.key,
            options=field.choices,
            distribution=distribution,
            answer=int(answers[0]) if answers else None,
            state=reason or SCORED,
            category=self.task.category(self.record),
            # Questions about the same clip are drawn together.
            group=self.group or sample_group(self.record) or str(self.record.clip),
            system=self.record.system,
        )
        if self.written is None:
            return prediction
        written = self.written[number]
        chosen = option_of(written.text, field.choices)
        state = SCORED
        if not written.finished:
            state = f"the answer did not end within {self.max_tokens} tokens"
        elif chosen is None:
            state = "the answer is none of the options"
        chosen = chosen if state == SCORED else None
        return replace(prediction, written=written.text, chosen=chosen, written_state=state)


def write_thoughts(replies: Sequence[RecordReply], encoder: QuestionEncoder, passes: Any) -> None:
    """Generate the thoughts that the questions request."""
    by_sampling: dict[ThoughtSampling | None, list[RecordReply]] = {}
    for reply in replies:
        if reply.generates_thought:
            by_sampling.setdefault(reply.thought_sampling, []).append(reply)
    for sampling, thinking in by_sampling.items():
        generated = _write(thinking, encoder, passes, THINK, THOUGHT.strip(), sampling)
        for reply, thoughts in zip(thinking, generated, strict=True):
            reply.add_thoughts(thoughts)


def seed_of(*parts: str | int) -> int:
    """A seed of 63 bits from the SHA-256 of the parts."""
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def write_answers(replies: Sequence[RecordReply], encoder: QuestionEncoder, passes: Any) -> None:
    """Generate answers to multiple-choice questions, if the task requests them."""
    choosing = [reply for reply in replies if reply.chooses]
    generated = _write(choosing, encoder, passes, LEAD, TAIL)
    for reply, answers in zip(choosing, generated, strict=True):
        reply.written = answers


def _write(
    replies: Sequence[RecordReply],
    encoder: QuestionEncoder,
    passes: Any,
    opening: str,
    until: str,
    sampled: ThoughtSampling | None = None,
) -> list[list[GeneratedText]]:
    sampling = None
    if sampled and replies:
        record_encoder = replies[0].record_encoder
        audio = (record_encoder.audio_token,) if record_encoder.family.takes_audio else ()
        sampling = Sampling(
            seeds=[reply.thought_seeds(sampled) for reply in replies],
            temperature=sampled.temperature,
            tokens=len(encoder.tokenizer),
            suppressed=audio,
        )
    return generate(
        [reply.encoded_record for reply in replies if reply.encoded_record is not None],
        encoder,
        passes.begin,
        opening=opening,
        until=until,
        max_tokens=[reply.max_tokens for reply in replies],
        sampling=sampling,
    )
