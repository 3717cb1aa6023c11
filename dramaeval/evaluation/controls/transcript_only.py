"""Transcript only: the same judge and the same questions, without the clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import ControlContext, score_encoded_by
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.record_encoder import RecordEncoder, Targets
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension

DESCRIPTION = "the same judge with the text alone, no audio in its prompt"
REMOVES_SOUND = True


def transcript_only(context: ControlContext) -> list[Prediction]:
    """Score every record with the audio parts left out of the prompt.

    Raises:
        NotPossibleError: see `require_audio_judge`.
    """
    return score_encoded_by(context, _TextEncoder)


class _TextEncoder(RecordEncoder):
    """Encodes prompts without clips."""

    def encode(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> EncodedRecord:
        return self.encode_with_clips(record, None, asked, targets)

    def questions(self, record: Record, asked: Sequence[Dimension | Question]) -> list[Question]:
        return [
            replace(question, messages=[_without_audio(message) for message in question.messages])
            for question in super().questions(record, asked)
        ]


def _without_audio(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return message
    return {**message, "content": [part for part in content if part["type"] != "audio"]}
