"""Transcript only: the same judge, asked the same in words, without any clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.setting import Setting, require_hearing
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.batch import Sheet
from dramaeval.models.sheets import SheetMaker, Targets
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension

WHAT = "the same judge with the text alone, no audio in its prompt"


def transcript_only(setting: Setting) -> list[Prediction]:
    """Score every record with the audio parts left out of the prompt.

    Raises:
        NotPossibleError: see `require_hearing`.
    """
    require_hearing(setting)
    sheets = setting.sheets
    return setting.score(setting.records, _deaf(sheets))


class _Deaf(SheetMaker):
    """Prompts without clips."""

    def sheet(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> Sheet:
        """See `SheetMaker.sheet`."""
        return self.sheet_of(record, None, asked, targets)

    def questions(self, record: Record, asked: Sequence[Dimension | Question]) -> list[Question]:
        """See `SheetMaker.questions`."""
        return [
            replace(one, messages=[_without_audio(message) for message in one.messages])
            for one in super().questions(record, asked)
        ]


def _without_audio(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return message
    return {**message, "content": [part for part in content if part["type"] != "audio"]}


def _deaf(sheets: SheetMaker) -> SheetMaker:
    return _Deaf(
        sheets.task, sheets.processor, sheets.family, max_seconds=sheets.max_seconds, cache_clips=1
    )
