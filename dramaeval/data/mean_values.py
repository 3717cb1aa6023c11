"""Reads mean ratings: a number, or an object with the mean, the standard deviation and the number of ratings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dramaeval.data.jsonl import json_type
from dramaeval.data.mean_ratings import std_bounds, std_is_possible
from dramaeval.data.problems import Finding, printable
from dramaeval.data.raters import (
    COUNT,
    MEAN,
    STD,
    RaterInfo,
    is_missing,
    is_number,
    is_quoted_number,
)

MEAN_FORM = '{"mean": 3.42, "std": 0.9, "n": 12}, without what is not known'


@dataclass(frozen=True)
class MeanReading:
    """A mean rating, its `RaterInfo`, how many of its numbers were in quotes, and its problems."""

    mean: float | None = None
    info: RaterInfo = field(default_factory=lambda: RaterInfo(mean_only=True))
    quoted: int = 0
    findings: tuple[Finding, ...] = ()


def is_mean_form(value: Any) -> bool:
    """Whether a value is a mean rating: a number, or an object with the keys of a mean rating."""
    if isinstance(value, Mapping):
        return MEAN in value or (bool(value) and {*value} <= {STD, COUNT})
    return is_number(value) or is_quoted_number(value)


def read_mean(
    name: str, value: Any, points: Sequence[float], *, between: bool = False
) -> MeanReading:
    """Check and read a mean rating of the annotation field ``name`` on the scale ``points``.

    With ``between``, ratings may be between the points.
    """
    values = value if isinstance(value, Mapping) else {MEAN: value}
    numbers = {
        key: float(item) if is_quoted_number(item) else item
        for key, item in values.items()
        if not is_missing(item)
    }
    findings = _form_findings(name, values, numbers)
    if not findings:
        findings = _moment_findings(name, numbers.get(MEAN), numbers.get(STD), points, between)
    if findings:
        return MeanReading(findings=tuple(findings))
    mean, std = (float(numbers[key]) if key in numbers else None for key in (MEAN, STD))
    count = int(numbers[COUNT]) if COUNT in numbers else None
    info = RaterInfo(mean_only=True, std=std, count=count)
    return MeanReading(mean, info, sum(map(is_quoted_number, values.values())))


def _form_findings(
    name: str, values: Mapping[str, Any], numbers: Mapping[str, Any]
) -> list[Finding]:
    """Problems of the keys and of the types of values."""
    findings = []
    if other := [printable(key) for key in values if key not in (MEAN, STD, COUNT)]:
        fix = f'write {MEAN_FORM}, or {{"rater": rating, …}}'
        findings.append(Finding(name, f'"{MEAN}" beside {", ".join(other[:6])}', fix))
    for key in (MEAN, STD):
        if key in numbers and not is_number(numbers[key]):
            problem = f"{key} is {json_type(numbers[key])}"
            findings.append(Finding(name, problem, f"write {MEAN_FORM}"))
    count = numbers.get(COUNT, 1)
    if not is_number(count) or count < 1 or count != int(count):
        fix = "give the number of ratings, a whole number from 1 on"
        findings.append(Finding(name, f"{COUNT} is {printable(str(count))}", fix))
    if MEAN not in numbers and (STD in numbers or MEAN not in values):
        findings.append(Finding(name, "no mean", f"write {MEAN_FORM}"))
    return findings


def _moment_findings(
    name: str, mean: float | None, std: float | None, points: Sequence[float], between: bool
) -> list[Finding]:
    """The problem of a mean or standard deviation that no ratings on the scale have."""
    if mean is None:
        return []
    low, high = points[0], points[-1]
    if not low <= mean <= high:
        fix = f"give a mean from {low:g} to {high:g}, or null where it is missing"
        return [Finding(name, f"mean {mean:g}: off the scale {low:g} to {high:g}", fix)]
    if std is None or std_is_possible(points, mean, std, between=between):
        return []
    smallest, largest = std_bounds(points, mean)
    smallest = 0.0 if between else smallest
    problem = (
        f"no ratings have the mean {mean:g} and the standard deviation {std:g}: "
        f"it lies between {smallest:.3f} and {largest:.3f}"
    )
    fix = 'give "std" as the root of Σ(r − mean)²/n (with n, not n − 1), or leave it out'
    return [Finding(name, problem, fix)]
