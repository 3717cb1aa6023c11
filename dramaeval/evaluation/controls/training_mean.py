"""The training mean: a constant for each dimension."""

from __future__ import annotations

from dramaeval.evaluation.controls.control_context import (
    ControlContext,
    prediction_of,
    train_means,
)
from dramaeval.evaluation.metrics.metric import mean_of_defined
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = "the dimension's mean over the training records, for every clip"


def training_mean(context: ControlContext) -> list[Prediction]:
    """Predict the mean of the training records' mean ratings on the dimension, for every record.

    The correlation of a constant is undefined, so that this control is meaningful only for errors. A dimension
    without a rated training record stays unscored.

    Raises:
        NotPossibleError: there is no training split.
    """
    means = {key: mean_of_defined(values.values()) for key, values in train_means(context).items()}
    unrated = "no training record is rated on this dimension"
    return [
        prediction_of(context, record, dimension, means[dimension.key], unrated)
        for record in context.records
        for dimension in context.task.dimensions_for(record)
    ]
