"""One record on its way through scoring: its questions, what was read of them, and the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of
from dramaeval.evaluation.consistent_answers import Reading
from dramaeval.evaluation.option_predictions import OptionPrediction, option_of
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.models.forward.generation import GeneratedText, generate
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.question_encoder import QuestionEncoder
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.question import LEAD, TAIL, THINK, THOUGHT, AnswerField, Question
from dramaeval.tasks.rubric import Dimension

AnyPrediction = Prediction | OptionPrediction
NOT_FINITE = "the judge's distribution is not finite"


class WrittenAnswer:
    """A record's questions and what a judge answers.

    Args:
        record: the record.
        record_encoder: prepares it; says by its task what is asked.
        group_by: record key that clusters the bootstrap.
    """

    def __init__(self, record: Record, record_encoder: RecordEncoder, group_by: str) -> None:
        self.record = record
        self.record_encoder = record_encoder
        self.task = record_encoder.task
        self.group = group_of(record, group_by)
        self.questions: list[Question] = self.task.questions(record, self.task.asked(record))
        self.encoded_record: EncodedRecord | None = None
        self.values: Reading = []
        self.written: list[GeneratedText] | None = None
        #: Why nothing can be scored, and why a single question cannot.
        self.reason: str | None = None
        self.failed: dict[int, str] = {}

    def prepare(self) -> None:
        """Make the encoded_record; raises BadRecordsError where the clip cannot be decoded."""
        if self.questions:
            self.encoded_record = self.record_encoder.encode(self.record, self.questions)

    @property
    def answerable(self) -> bool:
        """Whether there is something to be asked."""
        return self.encoded_record is not None

    @property
    def most(self) -> int:
        """The most tokens that the judge may write about this record; 0 where it writes nothing."""
        return self.task.writes(self.record)

    @property
    def thinks(self) -> bool:
        """Whether the judge is to write thoughts first."""
        return any(question.thinks for question in self.questions)

    @property
    def chooses(self) -> bool:
        """Whether the judge is to write whole answers to multiple-choice questions."""
        options = all(place.options for one in self.questions for place in one.places)
        return options and self.most > 0

    def after(self, thoughts: Sequence[GeneratedText]) -> None:
        """Put written thoughts in front of the answers."""
        self.failed = {
            at: f"the thought did not end within {self.most} tokens"
            for at, thought in enumerate(thoughts)
            if not thought.finished
        }
        self.questions = [
            question.after(thought.text)
            for question, thought in zip(self.questions, thoughts, strict=True)
        ]
        self.prepare()

    def predictions(self) -> list[AnyPrediction]:
        """One a dimension, in the order in which they were asked; the mean over several wordings."""
        by_key: dict[str, list[tuple[int, AnswerField, np.ndarray | None]]] = {}
        left = iter(self.values)
        for number, question in enumerate(self.questions):
            for place in question.places:
                by_key.setdefault(place.dimension.key, []).append((number, place, next(left, None)))
        made: list[AnyPrediction] = []
        for parts in by_key.values():
            number, place, first = parts[0]
            rows = [row for _, _, row in parts if row is not None]
            reasons = [self.failed[at] for at, _, _ in parts if at in self.failed]
            reason = self.reason or (reasons[0] if reasons else None)
            if reason is None and not all(np.isfinite(row).all() for row in rows):
                reason = NOT_FINITE
            if place.options:
                made.append(self._option(number, place, first, reason))
            elif reason:
                made.append(self._unscored(place.dimension, reason))
            else:
                made.append(self._scored(place.dimension, rows))
        return made

    def _scored(self, dimension: Dimension, rows: Sequence[np.ndarray]) -> Prediction:
        scale = np.array(dimension.scale, dtype=np.float64)
        share = None
        if len(rows[0]) > 1:
            shares = [row[: len(scale)] for row in rows]
            share = np.mean(shares, axis=0)
            each = [float(one @ scale) for one in shares]
        else:  # a regression head gives its value alone
            each = [float(row[0]) for row in rows]
        return Prediction(
            distribution=None if share is None else tuple(float(p) for p in share),
            expected=float(np.mean(each)),
            state=SCORED,
            wordings=tuple(each) if len(each) > 1 else None,
            **self._about(dimension),
        )

    def _unscored(self, dimension: Dimension, reason: str) -> Prediction:
        return Prediction(distribution=None, expected=None, state=reason, **self._about(dimension))

    def _about(self, dimension: Dimension) -> dict[str, Any]:
        return {
            "id": self.record.id,
            "dimension": dimension.key,
            "scale": tuple(float(score) for score in dimension.scale),
            "ratings": self.task.ratings(self.record, dimension),
            "group": self.group,
            "system": self.record.system,
        }

    def _option(
        self, number: int, place: AnswerField, row: np.ndarray | None, reason: str | None
    ) -> OptionPrediction:
        given = [one for one in self.task.ratings(self.record, place.dimension) if one is not None]
        share = None if reason or row is None else row[: len(place.choices)]
        found = OptionPrediction(
            id=self.record.id,
            dimension=place.dimension.key,
            options=place.choices,
            distribution=None if share is None else tuple(float(p) for p in share),
            answer=int(given[0]) if given else None,
            state=reason or SCORED,
            category=self.task.category(self.record),
            # Questions about the same clip are drawn together.
            group=self.group or str(self.record.clip),
            system=self.record.system,
        )
        if self.written is None:
            return found
        said = self.written[number]
        chosen = option_of(said.text, place.choices)
        state = SCORED
        if not said.finished:
            state = f"the answer did not end within {self.most} tokens"
        elif chosen is None:
            state = "the answer is none of the options"
        chosen = chosen if state == SCORED else None
        return replace(found, written=said.text, chosen=chosen, written_state=state)


def write_thoughts(replies: Sequence[WrittenAnswer], encoder: QuestionEncoder, passes: Any) -> None:
    """Let the judge write the thoughts that questions ask for."""
    thinking = [one for one in replies if one.thinks]
    said = _write(thinking, encoder, passes, THINK, THOUGHT.strip())
    for one, thoughts in zip(thinking, said, strict=True):
        one.after(thoughts)


def write_answers(replies: Sequence[WrittenAnswer], encoder: QuestionEncoder, passes: Any) -> None:
    """Let the judge write whole answers, where the task asks for them."""
    choosing = [one for one in replies if one.chooses]
    for one, answers in zip(choosing, _write(choosing, encoder, passes, LEAD, TAIL), strict=True):
        one.written = answers


def _write(
    replies: Sequence[WrittenAnswer],
    encoder: QuestionEncoder,
    passes: Any,
    opening: str,
    until: str,
) -> list[list[GeneratedText]]:
    asked = [(one.encoded_record, one.most) for one in replies if one.encoded_record is not None]
    return generate(
        [encoded_record for encoded_record, _ in asked],
        encoder,
        passes.begin,
        opening=opening,
        until=until,
        max_tokens=[most for _, most in asked],
    )
