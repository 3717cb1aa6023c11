"""Mean squared error of expected scores against mean ratings."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, SummedMetric, require_records
from dramaeval.evaluation.metrics.moments import of_mean


class MeanSquaredError(SummedMetric):
    """MSE = mean (x − y)², in squared score units."""

    name = "mse"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined without a record."""
        require_records(answers, 1)
        return float(np.mean((answers.predicted - answers.rated) ** 2))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        errors = (answers.predicted - answers.rated) ** 2
        return of_mean(errors, answers.cluster)
