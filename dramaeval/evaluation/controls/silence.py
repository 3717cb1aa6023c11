"""Silence: the same judge and the same texts, with as long a stretch of nothing as the clip lasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.setting import Setting, require_hearing
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.batch import Sheet
from dramaeval.models.sheets import SheetMaker, Targets
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension

WHAT = "the same judge with silence as long as the clip"


def silence(setting: Setting) -> list[Prediction]:
    """Score every record with silence of its clip's length in the clip's place.

    Raises:
        NotPossibleError: see `require_hearing`.
    """
    require_hearing(setting)
    sheets = setting.sheets
    quiet = _Quiet(
        sheets.task,
        sheets.processor,
        sheets.family,
        max_seconds=sheets.max_seconds,
        cache_clips=sheets.cache_clips,
    )
    return setting.score(setting.records, quiet)


class _Quiet(SheetMaker):
    """Clips of zeros; examples shown before a question keep their sound."""

    def sheet(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> Sheet:
        """See `SheetMaker.sheet`."""
        samples = max(1, round(record.seconds * self.logmel.sampling_rate))
        clip = self.logmel(np.zeros(samples, dtype=np.float32))
        return self.sheet_of(record, clip, asked, targets)
