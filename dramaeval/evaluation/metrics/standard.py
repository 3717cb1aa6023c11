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


#: The other results of a dimension and of the macro average in `metrics.json`, which stand beside those of the metrics.
TAKEN = frozenset(
    [
        "n", "records", "unscored", "unscored_reasons", "missing", "ratings", "ratings_missing", "mean_only",
        "majority_ties", "clusters", "interval", "interval_undefined", "undefined", "units", "dimensions",
        "dimensions_defined", "dimensions_undefined", "ceiling", "alternative_annotator", "system_level", "wording",
        "thought",
    ]
)  # fmt: skip


def with_standard(added: Sequence[Metric]) -> dict[str, Metric]:
    """The standard metrics and the added ones, by name.

    Raises:
        ValueError: two metrics have the same name, or one has the name of another result.
    """
    named: dict[str, Metric] = {}
    for metric in (*STANDARD, *added):
        name = metric_name(metric)
        if name in named:
            raise ValueError(
                f"two metrics are called '{name}'; give yours another name "
                f"(taken: {', '.join(named)})"
            )
        if name in TAKEN:
            raise ValueError(
                f"a metric is called '{name}', which is the name of another result; give it another name "
                f"(taken too: {', '.join(sorted(TAKEN - {name}))})"
            )
        named[name] = metric
    return named
