"""Silence: the same judge and the same texts, with silence of the clip's length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import ControlContext, score_encoded_by
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.record_encoder import RecordEncoder, Targets
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension

DESCRIPTION = "the same judge with silence as long as the clip"
REMOVES_SOUND = True


def silence(context: ControlContext) -> list[Prediction]:
    """Score every record with silence of its clip's length in place of the clip.

    Raises:
        NotPossibleError: see `require_audio_judge`.
    """
    return score_encoded_by(context, _SilentEncoder)


class _SilentEncoder(RecordEncoder):
    """Encodes zeros in place of a record's clip; few-shot examples keep their sound."""

    def encode(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> EncodedRecord:
        samples = max(1, round(record.seconds * self.logmel.sampling_rate))
        clip = self.features(np.zeros(samples, dtype=np.float32))
        return self.encode_with_clips(record, {record.clip: clip}, asked, targets)
