"""Silence: the same judge and the same texts, with as long a stretch of nothing as the clip lasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.setting import ControlContext, require_hearing
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.record_encoder import RecordEncoder, Targets
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension

WHAT = "the same judge with silence as long as the clip"


def silence(setting: ControlContext) -> list[Prediction]:
    """Score every record with silence of its clip's length in the clip's place.

    Raises:
        NotPossibleError: see `require_hearing`.
    """
    require_hearing(setting)
    record_encoder = setting.record_encoder
    quiet = _Quiet(
        record_encoder.task,
        record_encoder.processor,
        record_encoder.family,
        max_seconds=record_encoder.max_seconds,
        cache_clips=record_encoder.cache_clips,
    )
    return setting.score(setting.records, quiet)


class _Quiet(RecordEncoder):
    """Clips of zeros; examples shown before a question keep their sound."""

    def encode(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> EncodedRecord:
        """See `RecordEncoder.encoded_record`."""
        samples = max(1, round(record.seconds * self.logmel.sampling_rate))
        clip = self.logmel(np.zeros(samples, dtype=np.float32))
        return self.encode_with_clip(record, clip, asked, targets)
