"""Transcript only: the same judge, asked the same in words, without any clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.setting import ControlContext, require_hearing
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.record_encoder import RecordEncoder, Targets
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension

WHAT = "the same judge with the text alone, no audio in its prompt"


def transcript_only(setting: ControlContext) -> list[Prediction]:
    """Score every record with the audio parts left out of the prompt.

    Raises:
        NotPossibleError: see `require_hearing`.
    """
    require_hearing(setting)
    record_encoder = setting.record_encoder
    return setting.score(setting.records, _deaf(record_encoder))


class _Deaf(RecordEncoder):
    """Prompts without clips."""

    def encode(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> EncodedRecord:
        """See `RecordEncoder.encoded_record`."""
        return self.encode_with_clip(record, None, asked, targets)

    def questions(self, record: Record, asked: Sequence[Dimension | Question]) -> list[Question]:
        """See `RecordEncoder.questions`."""
        return [
            replace(one, messages=[_without_audio(message) for message in one.messages])
            for one in super().questions(record, asked)
        ]


def _without_audio(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return message
    return {**message, "content": [part for part in content if part["type"] != "audio"]}


def _deaf(record_encoder: RecordEncoder) -> RecordEncoder:
    return _Deaf(
        record_encoder.task,
        record_encoder.processor,
        record_encoder.family,
        max_seconds=record_encoder.max_seconds,
        cache_clips=1,
    )
