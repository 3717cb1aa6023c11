"""Encoder probe: a ridge regression on the outputs of the judge's own audio tower, before any training.

The difference from the judge shows what the language model and the training add to the audio tower.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import ControlContext
from dramaeval.evaluation.controls.duration import duration_features
from dramaeval.evaluation.controls.ridge import fitted_predictions
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = (
    "a ridge regression on the averaged outputs of the untrained judge's audio tower, the clip's length and the rate "
    "of its transcript"
)
SETTINGS = ("prosody_clips",)


def encoder_probe(context: ControlContext) -> list[Prediction]:
    """Predict each dimension's mean rating from the tower's outputs, averaged over time (see `fitted_predictions`).

    The average does not contain the clip's length, which the judge knows; `duration_features` are therefore added. The
    tower has the weights of the base model, without this run's training.

    Raises:
        NotPossibleError: there is no training split, or the model has no audio tower.
    """

    def featurise(records: Sequence[Record]) -> list[np.ndarray | str]:
        return [
            encoding
            if isinstance(encoding, str)
            else np.append(encoding, duration_features(record))
            for record, encoding in zip(records, context.pooled_encodings(records), strict=True)
        ]

    return fitted_predictions(context, featurise)
