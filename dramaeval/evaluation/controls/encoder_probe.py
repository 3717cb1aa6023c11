"""Encoder probe: a ridge regression on the outputs of the judge's own audio tower, before any training.

It shows what the language model and the training add to the representation that the judge starts from.
"""

from __future__ import annotations

from dramaeval.evaluation.controls.control_context import ControlContext
from dramaeval.evaluation.controls.ridge import fitted_predictions
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = "a ridge regression on the averaged outputs of the untrained judge's audio tower"


def encoder_probe(context: ControlContext) -> list[Prediction]:
    """Predict each dimension's mean rating from the tower's outputs, averaged over time (see `fitted_predictions`).

    The tower is that of the base model, which this run's training does not change.

    Raises:
        NotPossibleError: there is no training split, or the model has no audio tower.
    """
    return fitted_predictions(context, context.pooled_encodings)
