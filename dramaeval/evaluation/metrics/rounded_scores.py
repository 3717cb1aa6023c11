"""Agreement of the rounded scores: accuracy and quadratic weighted kappa.

Expected scores and mean ratings are rounded to the nearest score of the scale; halfway goes up (3.5 becomes 4).
"""

from __future__ import annotations

import numpy as np

from dramaeval.evaluation.bootstrap import Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.metric import (
    RecordMean,
    SummedMetric,
    UndefinedError,
    require_records,
)


class Accuracy(RecordMean):
    """Share of records whose expected score and mean rating round to the same score."""

    name = "accuracy"

    def record_values(self, arrays: DimensionArrays) -> np.ndarray:
        """1 where both round to the same score, else 0."""
        return (arrays.predicted_step == arrays.rated_step).astype(float)


class QuadraticWeightedKappa(SummedMetric):
    """κ = 1 − Σ(i−j)²O_ij / Σ(i−j)²E_ij over rounded scores, E from the margins (Cohen 1968).

    i and j are indices into the scale.
    """

    name = "qwk"

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined under 3 records or where both sides round to a single score."""
        require_records(arrays, 3)
        judge, raters = arrays.predicted_step, arrays.rated_step
        if len(np.unique(np.concatenate([judge, raters]))) == 1:
            raise UndefinedError("judge and raters all round to the same score")
        labels = list(range(len(arrays.scale)))
        from sklearn.metrics import cohen_kappa_score  # takes a second to import

        return float(cohen_kappa_score(judge, raters, labels=labels, weights="quadratic"))

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The counts of each pair of rounded scores (judge × raters)."""
        steps = len(arrays.scale)
        cell = arrays.predicted_step * steps + arrays.rated_step
        one_hot = (cell[:, None] == np.arange(steps * steps)).astype(float)
        return Summands(cluster=arrays.cluster, columns=one_hot, value=_kappa)


def _kappa(sums: np.ndarray) -> np.ndarray:
    """κ from the tables of judge × raters, (draws, steps²)."""
    steps = round(sums.shape[1] ** 0.5)
    observed = sums.reshape(-1, steps, steps)
    distance = np.subtract.outer(np.arange(steps), np.arange(steps)) ** 2.0
    disagreement = np.einsum("bij,ij->b", observed, distance)
    judge, raters = observed.sum(axis=2), observed.sum(axis=1)
    by_chance = np.einsum("bi,bj,ij->b", judge, raters, distance)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance > 0, 1 - disagreement * judge.sum(axis=1) / by_chance, np.nan)
