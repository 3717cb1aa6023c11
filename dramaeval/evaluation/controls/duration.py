"""Duration: a ridge regression on the clip's length and the rate of its transcript, fitted on the training split.

Neither feature depends on how the words are spoken, so that a judge has to agree better with people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import ControlContext, require_clips
from dramaeval.evaluation.controls.ridge import fitted_predictions
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = "a ridge regression on the clip's length and the rate of its transcript"
SETTINGS = ("prosody_clips",)


def duration(context: ControlContext) -> list[Prediction]:
    """Predict each dimension's mean rating from `duration_features` (see `fitted_predictions`).

    Raises:
        NotPossibleError: there is no training split, or the judge takes no audio.
    """
    require_clips(context)

    def featurise(records: Sequence[Record]) -> list[np.ndarray | str]:
        context.progress(len(records))
        return [duration_features(record) for record in records]

    return fitted_predictions(context, featurise)


def duration_features(record: Record) -> np.ndarray:
    """Length in seconds, and characters of the key ``transcript`` per second: ``[2]``, NaN without a transcript."""
    transcript = record.text("transcript")
    rate = len(transcript) / record.seconds if transcript else np.nan
    return np.array([record.seconds, rate])
