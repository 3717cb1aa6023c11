"""The metrics of every evaluation, in the order of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.evaluation.metrics.accuracy import Accuracy
from dramaeval.evaluation.metrics.auroc import Auroc
from dramaeval.evaluation.metrics.balanced_accuracy import BalancedAccuracy
from dramaeval.evaluation.metrics.bias import Bias
from dramaeval.evaluation.metrics.calibration_error import CalibrationError
from dramaeval.evaluation.metrics.ccc import Concordance
from dramaeval.evaluation.metrics.f1 import F1
from dramaeval.evaluation.metrics.kendall import Kendall
from dramaeval.evaluation.metrics.mae import MeanAbsoluteError
from dramaeval.evaluation.metrics.metric import Metric, metric_name
from dramaeval.evaluation.metrics.mse import MeanSquaredError
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.predicted_spread import PredictedSpread
from dramaeval.evaluation.metrics.qwk import QuadraticWeightedKappa
from dramaeval.evaluation.metrics.rater_spread import RaterSpread
from dramaeval.evaluation.metrics.spearman import Spearman
from dramaeval.evaluation.metrics.spread_correlation import SpreadCorrelation
from dramaeval.evaluation.metrics.variance_ratio import VarianceRatio

STANDARD: tuple[Metric, ...] = (
    Pearson(),
    Spearman(),
    Kendall(),
    MeanSquaredError(),
    MeanAbsoluteError(),
    Concordance(),
    Accuracy(),
    QuadraticWeightedKappa(),
    Auroc(),
    BalancedAccuracy(),
    F1(),
    Bias(),
    VarianceRatio(),
    CalibrationError(),
    PredictedSpread(),
    RaterSpread(),
    SpreadCorrelation(),
)


def with_standard(added: Sequence[Metric]) -> dict[str, Metric]:
    """The standard metrics and the added ones by name; raises ValueError when two share a name."""
    named: dict[str, Metric] = {}
    for metric in (*STANDARD, *added):
        name = metric_name(metric)
        if name in named:
            raise ValueError(
                f"two metrics are called '{name}'; give yours another name "
                f"(taken: {', '.join(named)})"
            )
        named[name] = metric
    return named
