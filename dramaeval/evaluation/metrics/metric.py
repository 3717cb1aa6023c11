"""The interface of a metric: a callable that takes one dimension's arrays and returns a number.

You can write a metric as a function:

    def within_one(arrays: DimensionArrays) -> float:
        return float((abs(arrays.predicted - arrays.rated) <= 1).mean())

Name it in the configuration with `{_target_: my_module.within_one, _partial_: true}`; the results use the
function's name. If the metric is undefined, it raises `UndefinedError("why")` or returns None or NaN: the
result is then null with the reason, and the macro lists the dimension as left out.

A metric can also be a class with `name` and `__call__`. These additions are optional:

- `over_draws(arrays, draws)` returns the metric in every bootstrap draw at once, which gives intervals on data of
  any size. Without it the draws are computed one by one, on smaller data only.
- A subclass of `SummedMetric` is computed from sums over a draw's records, which `summands(arrays)` describes. All
  such metrics share one matrix product.
- A subclass of `RecordMean` is computed from the mean of one number per record, which `record_values(arrays)` returns.
- `score_power` is 1 for a metric in score units and 2 for one in squared score units. If the scales of the dimensions
  have different ranges, the mean over dimensions is in units of the range.
- `exchange` is the form in which a permutation test exchanges the scores of two judges (see `Exchange`).
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np

from dramaeval.data.problems import one_line
from dramaeval.errors import UserFacingError, raised
from dramaeval.evaluation.bootstrap import BootstrapDraws, Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays
from dramaeval.evaluation.metrics.moments import of_mean

ROWS_RESAMPLED = 4_000_000
"""Maximum of records × draws for which a metric without `over_draws` is computed, draw by draw."""


class UndefinedError(ValueError):
    """The metric is undefined on these arrays; the message is the reason."""


class MetricError(UserFacingError):
    """A metric raises an error, or returns no number."""


class NotApplicableError(UndefinedError):
    """The metric does not apply to this kind of scale."""


class Exchange(Enum):
    """The form in which a permutation test exchanges the scores of two judges.

    For a metric that ignores the offset and the range of a judge's scores, the scores of both judges are standardised
    or ranked first: a mixture of raw scores would depend on them.
    """

    RAW = "raw"
    STANDARDISED = "standardised"
    RANKED = "ranked"


class Metric(Protocol):
    """A function of one dimension's arrays."""

    def __call__(self, arrays: DimensionArrays, /) -> float | None:
        """The value of the metric; raises UndefinedError or returns None if it is undefined."""


@runtime_checkable
class DrawnMetric(Metric, Protocol):
    """A metric that computes its value in every draw at once."""

    def over_draws(self, arrays: DimensionArrays, draws: BootstrapDraws, /) -> np.ndarray | None:
        """The metric in every draw, (draws,), NaN where undefined; None if the computation would take too long."""


class SummedMetric(ABC):
    """A metric that is a function of sums over the records of a draw."""

    exchange = Exchange.RAW

    @abstractmethod
    def summands(self, arrays: DimensionArrays, /) -> Summands:
        """The columns to sum over the records of a draw, and the metric as a function of the sums."""

    def over_draws(self, arrays: DimensionArrays, draws: BootstrapDraws, /) -> np.ndarray:
        """The metric in every draw, (draws,), NaN where undefined."""
        (values,) = draws.values([self.summands(arrays)])
        return values


class RecordMean(SummedMetric):
    """A metric that is a function of the mean of one number per record; undefined if no record has a number."""

    undefined = "no record has a value"

    @abstractmethod
    def record_values(self, arrays: DimensionArrays, /) -> np.ndarray:
        """One number per record, (n,); NaN leaves the record out."""

    def of_mean(self, mean: np.ndarray) -> np.ndarray:
        """Compute the metric from means, elementwise; by default it is the mean."""
        return mean

    def __call__(self, arrays: DimensionArrays) -> float:
        """Undefined if no record has a number."""
        require_records(arrays, 1)
        values = self.record_values(arrays)
        if np.isnan(values).all():
            raise UndefinedError(self.undefined)
        return float(self.of_mean(np.nanmean(values)))

    def summands(self, arrays: DimensionArrays) -> Summands:
        """The columns are the numbers and ones."""
        return of_mean(self.record_values(arrays), arrays.cluster, self.of_mean)


def metric_name(metric: Metric) -> str:
    """The attribute `name` of a metric, or the name of a function; raises ValueError if there is neither."""
    inner = metric.func if isinstance(metric, functools.partial) else metric
    name = getattr(inner, "name", None) or getattr(inner, "__name__", None)
    if not isinstance(name, str):
        raise ValueError(f"the metric {metric!r} needs a `name`")
    return name


def value_of(metric: Metric, arrays: DimensionArrays) -> float:
    """The finite value of the metric.

    Raises:
        UndefinedError: there is none; the message is the reason.
        MetricError: the metric raises another error, or returns something else than a number.
    """
    try:
        value = metric(arrays)
    except UndefinedError:
        raise
    except Exception as error:
        raise MetricError(f"The metric {metric_name(metric)} raised {raised(error)}.") from error
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError):
        raise MetricError(
            f"The metric {metric_name(metric)} returned {one_line(repr(value), 200)}, which is no number."
        ) from None
    if not math.isfinite(number):
        raise UndefinedError(f"the metric gave {value}")
    return number


def metric_values(
    metrics: Mapping[str, Metric], arrays: DimensionArrays
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The value of each metric that applies to this scale, None if undefined; the reasons of undefined metrics."""
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, metric in metrics.items():
        try:
            values[name] = value_of(metric, arrays)
        except NotApplicableError:
            continue
        except UndefinedError as error:
            values[name] = None
            reasons[name] = str(error)
    return values, reasons


def mean_of_defined(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None; None if there are none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def values_over_draws(
    metric: Metric, arrays: DimensionArrays, draws: BootstrapDraws
) -> np.ndarray | None:
    """The metric in every draw, (draws,), NaN where undefined; None if the computation would take too long."""
    if isinstance(metric, DrawnMetric):
        return metric.over_draws(arrays, draws)
    if arrays.n * len(draws) > ROWS_RESAMPLED:
        return None
    values = np.full(len(draws), np.nan)
    for rows, weights in draws.weights(arrays.cluster):
        for draw, counts in enumerate(weights, rows.start):
            resampled = np.repeat(np.arange(arrays.n), counts.astype(np.intp))
            try:
                values[draw] = value_of(metric, arrays.take(resampled))
            except UndefinedError:
                continue
    return values


def all_over_draws(
    pairs: Sequence[tuple[Metric, DimensionArrays]], draws: BootstrapDraws
) -> list[np.ndarray | None]:
    """Compute `values_over_draws` of each pair; all `SummedMetric` share one matrix product."""
    summands = [
        metric.summands(arrays) for metric, arrays in pairs if isinstance(metric, SummedMetric)
    ]
    summed = iter(draws.values(summands))
    return [
        next(summed)
        if isinstance(metric, SummedMetric)
        else values_over_draws(metric, arrays, draws)
        for metric, arrays in pairs
    ]


def require_records(arrays: DimensionArrays, least: int) -> None:
    """Raise UndefinedError if fewer than `least` records are both scored and rated."""
    if arrays.n == 0:
        raise UndefinedError("no record is both scored and rated")
    if arrays.n < least:
        records = "1 record is" if arrays.n == 1 else f"{arrays.n} records are"
        raise UndefinedError(f"only {records} both scored and rated; at least {least} are needed")


def require_variation(arrays: DimensionArrays) -> None:
    """Raise UndefinedError if a correlation is undefined: under 3 records, constant scores or constant ratings."""
    require_records(arrays, 3)
    if constant(arrays.predicted):
        raise UndefinedError("the judge gave every record the same score")
    if constant(arrays.rated):
        raise UndefinedError("the raters' mean is the same for every record")


def constant(values: np.ndarray) -> bool:
    """Whether all values are equal up to floating-point rounding."""
    return bool(np.ptp(values) <= 1e-9) if len(values) else True
