"""What a metric is: a callable that takes one dimension's answers and gives a number.

A metric of your own is one function in one file:

    def within_one(answers: Answers) -> float:
        return float((abs(answers.predicted - answers.rated) <= 1).mean())

named in the configuration by `{_target_: my_module.within_one, _partial_: true}`; its name in the
results is the function's. It may raise `UndefinedError("why")`, or give None or NaN, where it has
no value: the result is then null, with the reason beside it, and the macro says what it left out.

A class can be a metric too, with `name` and `__call__`. Where it also has
`over_draws(answers, draws)`, giving its value in every bootstrap draw at once, it gets intervals on
data of any size; without it the draws are computed one by one, which is done for smaller data only.
Where its value follows from sums over a draw's records, it inherits from `SummedMetric` and says in
`summands(answers)` what is summed: then it shares one matrix product with the other metrics.
`exchange` says what two judges swap in a permutation test (see `Exchange`).
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np

from dramaeval.evaluation.bootstrap import BootstrapDraws, Summands
from dramaeval.evaluation.dimension_arrays import DimensionArrays

ROWS_RESAMPLED = 4_000_000
"""Records × draws up to which a metric without `over_draws` is computed draw by draw."""


class UndefinedError(ValueError):
    """The metric has no value on these answers; the message is the reason."""


class NotApplicableError(UndefinedError):
    """The metric does not exist on this kind of scale, whatever the answers."""


class Exchange(Enum):
    """The form in which two judges' scores are swapped by a permutation test.

    A metric that ignores a judge's offset and stretch must not see a mixture of two judges with
    different ones, so their scores are first brought to a common form.
    """

    RAW = "raw"
    STANDARDISED = "standardised"
    RANKED = "ranked"


class Metric(Protocol):
    """Takes answers, gives a number; raises UndefinedError (or gives None) where there is none."""

    def __call__(self, answers: DimensionArrays, /) -> float | None:
        """The metric of these answers."""


@runtime_checkable
class DrawnMetric(Protocol):
    """A metric that also knows its value in every draw at once."""

    def __call__(self, answers: DimensionArrays, /) -> float | None:
        """The metric of these answers."""

    def over_draws(self, answers: DimensionArrays, draws: BootstrapDraws, /) -> np.ndarray | None:
        """The metric in every draw, (draws,), NaN where undefined; None if it is too much work."""


class SummedMetric(ABC):
    """A metric that depends on a draw through sums over its records alone."""

    @abstractmethod
    def summands(self, answers: DimensionArrays, /) -> Summands:
        """What is summed over the records of a draw, and the metric as a function of the sums."""

    def over_draws(self, answers: DimensionArrays, draws: BootstrapDraws, /) -> np.ndarray:
        """The metric in every draw, (draws,), NaN where undefined."""
        (values,) = draws.values([self.summands(answers)])
        return values


def metric_name(metric: Metric) -> str:
    """A class's `name`, or a function's own name; raises ValueError when there is neither."""
    inner = metric.func if isinstance(metric, functools.partial) else metric
    name = getattr(inner, "name", None) or getattr(inner, "__name__", None)
    if not isinstance(name, str):
        raise ValueError(f"the metric {metric!r} needs a `name`")
    return name


def value_of(metric: Metric, answers: DimensionArrays) -> float:
    """The metric's value; raises UndefinedError with the reason where there is none."""
    value = metric(answers)
    if value is None or not math.isfinite(value):
        raise UndefinedError(f"the metric gave {value}")
    return float(value)


def values_over_draws(
    metric: Metric, answers: DimensionArrays, draws: BootstrapDraws
) -> np.ndarray | None:
    """The metric in every draw, (draws,), NaN where undefined; None when that is too much work."""
    if isinstance(metric, DrawnMetric):
        return metric.over_draws(answers, draws)
    if answers.n * len(draws) > ROWS_RESAMPLED:
        return None
    values = np.full(len(draws), np.nan)
    for rows, weights in draws.weights(answers.cluster):
        for place, counts in zip(range(*rows.indices(len(draws))), weights, strict=True):
            resampled = np.repeat(np.arange(answers.n), counts.astype(np.intp))
            try:
                values[place] = value_of(metric, answers.take(resampled))
            except UndefinedError:
                continue
    return values


def all_over_draws(
    asked: Sequence[tuple[Metric, DimensionArrays]], draws: BootstrapDraws
) -> list[np.ndarray | None]:
    """`values_over_draws` of each pair; those that are functions of sums share one matrix product."""
    summed = {
        at: metric.summands(answers)
        for at, (metric, answers) in enumerate(asked)
        if isinstance(metric, SummedMetric)
    }
    values = dict(zip(summed, draws.values(list(summed.values())), strict=True))
    return [
        values[at] if at in values else values_over_draws(metric, answers, draws)
        for at, (metric, answers) in enumerate(asked)
    ]


def require_records(answers: DimensionArrays, least: int) -> None:
    """Raise UndefinedError when there are fewer than `least` records both scored and rated."""
    if answers.n == 0:
        raise UndefinedError("no record is both scored and rated")
    if answers.n < least:
        records = "1 record is" if answers.n == 1 else f"{answers.n} records are"
        raise UndefinedError(f"only {records} both scored and rated; at least {least} are needed")


def require_variation(answers: DimensionArrays) -> None:
    """Raise UndefinedError where there is no correlation: under 3 records, or a constant side."""
    require_records(answers, 3)
    if constant(answers.predicted):
        raise UndefinedError("the judge gave every record the same score")
    if constant(answers.rated):
        raise UndefinedError("the raters' mean is the same for every record")


def require_pass_fail(answers: DimensionArrays) -> None:
    """Raise NotApplicableError unless the scale is 0-1."""
    if not answers.pass_fail:
        raise NotApplicableError("for pass/fail scales only")


def constant(values: np.ndarray) -> bool:
    """Whether all values are the same but for the rounding of floating point."""
    return bool(np.ptp(values) <= 1e-9) if len(values) else True
