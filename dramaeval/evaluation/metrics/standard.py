"""The standard metrics of every evaluation, in the order of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.evaluation.metrics.calibration import (
    CalibrationError,
    PredictedSpread,
    RaterSpread,
    SpreadCorrelation,
)
from dramaeval.evaluation.metrics.metric import Metric, metric_name
from dramaeval.evaluation.metrics.pass_fail import F1, Auroc, BalancedAccuracy
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.rank_correlations import Kendall, Spearman
from dramaeval.evaluation.metrics.rounded_scores import Accuracy, QuadraticWeightedKappa
from dramaeval.evaluation.metrics.score_errors import (
    Bias,
    Concordance,
    MeanAbsoluteError,
    MeanSquaredError,
    VarianceRatio,
)

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
    """The standard metrics and the added ones, by name; raises ValueError if two have the same name."""
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
