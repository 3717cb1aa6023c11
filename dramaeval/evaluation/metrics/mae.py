"""Mean absolute error of expected scores against mean ratings."""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import Exchange, SummedMetric, require_records
from dramaeval.evaluation.metrics.moments import of_mean


class MeanAbsoluteError(SummedMetric):
    """MAE = mean |x − y|, in score units."""

    name = "mae"
    exchange = Exchange.RAW

    def __call__(self, answers: DimensionArrays) -> float:
        """Undefined without a record."""
        require_records(answers, 1)
        return float(np.mean(np.abs(answers.predicted - answers.rated)))

    def summands(self, answers: DimensionArrays) -> Summands:
        """The same in every draw."""
        errors = np.abs(answers.predicted - answers.rated)
        return of_mean(errors, answers.cluster)
