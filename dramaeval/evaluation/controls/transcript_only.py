"""Transcript only: the same judge, asked the same in words, without any clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.setting import NotPossibleError, Setting
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.batch import Sheet
from dramaeval.models.sheets import SheetMaker
from dramaeval.tasks.rubric import Dimension

WHAT = "the same judge with the text alone, no audio in its prompt"


def transcript_only(setting: Setting) -> list[Prediction]:
    """Score every record with the audio parts left out of the prompt.

    Raises:
        NotPossibleError: the judge hears nothing anyway.
    """
    sheets = setting.sheets
    if not sheets.family.hears:
        raise NotPossibleError("this judge only reads")
    return setting.score(setting.records, _deaf(sheets))


class _Deaf(SheetMaker):
    """Prompts without clips."""

    def sheet(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        targets: Sequence[np.ndarray] | None = None,
    ) -> Sheet:
        """See `SheetMaker.sheet`."""
        return self.sheet_of(record, None, dimensions, targets)

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """See `SheetMaker.messages`."""
        found = super().messages(record, dimension)
        for message in found:
            if isinstance(message["content"], list):
                message["content"] = [
                    part for part in message["content"] if part["type"] != "audio"
                ]
        return found


def _deaf(sheets: SheetMaker) -> SheetMaker:
    return _Deaf(
        sheets.task, sheets.processor, sheets.family, max_seconds=sheets.max_seconds, cache_clips=1
    )
