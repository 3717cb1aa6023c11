"""Agreement of rounded scores: accuracy and quadratic weighted kappa.

Expected scores and mean ratings are rounded to the nearest score of the scale; halfway goes up (3.5 becomes 4).
"""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands, ratio
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    RecordMean,
    SummedMetric,
    UndefinedError,
    require_records,
)


class Accuracy(RecordMean):
    """The share of records whose expected score and mean rating round to the same score."""

    name = "accuracy"

    def record_values(self, arrays: DimensionArrays) -> np.ndarray:
        """1 if both round to the same score, else 0."""
        return (arrays.predicted_step == arrays.rated_step).astype(float)


class QuadraticWeightedKappa(SummedMetric):
    """κ = 1 − Σ(i−j)²O_ij / Σ(i−j)²E_ij over rounded scores (Cohen 1968).

    i and j are indices into the scale, O are the observed counts, E the counts expected from the margins.
    """

    name = "qwk"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined with fewer than 3 records, or if all scores and ratings round to the same score."""
        require_records(arrays, 3)
        judge, raters = arrays.predicted_step, arrays.rated_step
        if len(np.unique(np.concatenate([judge, raters]))) == 1:
            raise UndefinedError("judge and raters all round to the same score")
        return self.summands(arrays).whole

    def summands(self, arrays: DimensionArrays) -> Summands:
        """Six columns whose sums give Σ(i−j)²O and Σ(i−j)²E, in place of one column for each O_ij."""
        judge, raters = arrays.predicted_step.astype(float), arrays.rated_step.astype(float)
        columns = [np.ones(arrays.n), judge, raters, judge**2, raters**2, judge * raters]
        return Summands(cluster=arrays.cluster, columns=np.stack(columns, axis=1), value=_kappa)


def _kappa(sums: np.ndarray) -> np.ndarray:
    """κ from the sums of 1, i, j, i², j² and ij, ``[draws, 6]``; the sums are whole numbers and therefore exact."""
    count, judge, raters, judge_squares, rater_squares, products = sums.T
    disagreement = judge_squares + rater_squares - 2 * products
    by_chance = count * (judge_squares + rater_squares) - 2 * judge * raters
    return 1 - ratio(disagreement * count, by_chance)
