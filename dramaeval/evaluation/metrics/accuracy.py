"""Accuracy after rounding: how often judge and raters' mean fall on the same score."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, SummedMetric, require_records
from dramaeval.evaluation.metrics.moments import of_mean


class Accuracy(SummedMetric):
    """Share of records whose expected score and mean rating round to the same score.

    Both go to the nearest score of the scale, halfway up (3.5 is a 4).
    """

    name = "accuracy"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined without a record."""
        require_records(answers, 1)
        return float(np.mean(answers.predicted_step == answers.rated_step))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        hits = (answers.predicted_step == answers.rated_step).astype(float)
        return of_mean(hits, answers.cluster)
