"""The training mean: what a judge gets that knows the dimension and nothing of the record."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.controls.setting import ControlContext, prediction_of, train_means
from dramaeval.evaluation.predictions import SCORED, Prediction

WHAT = "the dimension's mean over the training records, for every clip"


def training_mean(setting: ControlContext) -> list[Prediction]:
    """Give every record the mean, over the training records, of their mean ratings.

    A constant has no correlation: it is a control of the squared error alone. A dimension that no training
    record is rated on stays unscored.
    """
    means = {key: list(values.values()) for key, values in train_means(setting).items()}
    found = []
    for record in setting.records:
        for dimension in setting.task.asked(record):
            known = means[dimension.key]
            value = float(np.mean(known)) if known else None
            state = SCORED if known else "no training record is rated on this dimension"
            found.append(prediction_of(setting, record, dimension, value, state=state))
    return found
