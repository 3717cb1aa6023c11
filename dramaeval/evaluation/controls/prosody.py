"""Prosody: a ridge regression on acoustic features, fitted on the training split.

It uses neither the words nor the scene, so that a judge has to agree better with people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import ControlContext
from dramaeval.evaluation.controls.prosody_features import RATE, features
from dramaeval.evaluation.controls.ridge import fitted_predictions
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = "a ridge regression on f0, energy, pauses and rate"


def prosody(context: ControlContext) -> list[Prediction]:
    """Predict each dimension's mean rating from the clip's features (see `fitted_predictions`).

    The f0 features of a clip without voice are missing features.

    Raises:
        NotPossibleError: there is no training split.
    """

    def featurise(records: Sequence[Record]) -> list[np.ndarray | str]:
        return [_features(record, context) for record in records]

    return fitted_predictions(context, featurise)


def _features(record: Record, context: ControlContext) -> np.ndarray | str:
    """The clip's features, or the reason why there are none."""
    try:
        values = features(decode(record.clip, RATE, max_seconds=context.record_encoder.max_seconds))
    except UnreadableClipError as error:
        return f"unreadable clip: {error.reason}"
    context.progress(1)
    return values
