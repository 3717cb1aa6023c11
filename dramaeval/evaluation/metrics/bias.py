"""Bias: how far the judge stands above the raters on average."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, SummedMetric, require_records
from dramaeval.evaluation.metrics.moments import of_mean


class Bias(SummedMetric):
    """mean (x − y) in score units: above 0 the judge is kinder than people, below 0 harsher."""

    name = "bias"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined without a record."""
        require_records(answers, 1)
        return float(np.mean(answers.predicted - answers.rated))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        return of_mean(answers.predicted - answers.rated, answers.cluster)
