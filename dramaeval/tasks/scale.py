"""The scale of a dimension: its points in the raters' unit, and the text that a judge writes for each.

A rubric declares a scale in one of three forms:

- a list of numbers: ``[1, 2, 3, 4, 5]``, ``[1, 1.5, 2]``;
- a range: ``{from: 0, to: 100, step: 1}``; the default of the step is 1;
- an ordered list of labels, the lowest first: ``[bad, fair, good]``. Its points are 1, 2, 3, ….

``bins: N`` replaces a range by N points at equal distances, with both ends. The judge writes the number of a point,
from 1 to N; scores are in the raters' unit. A rating between two points is divided between them, so that the mean is
kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dramaeval.data.raters import is_missing

#: Maximum number of points of a scale; the judge computes the probability of each.
MOST_POINTS = 201
#: Maximum number of points that a prompt lists one by one.
_LISTED = 25


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A scale.

    Attributes:
        points: numbers in rising order, in the unit of ratings and expected scores.
        answers: the text that the judge writes for each point.
        bins: whether the points are bins of a finer scale, and the answers the numbers of the bins.
    """

    points: tuple[float, ...]
    answers: tuple[str, ...]
    bins: bool = False


def number_text(value: float) -> str:
    """The text of a number in answers: 4 for 4.0, 1.5 for 1.5."""
    return str(int(value)) if value == int(value) else repr(float(value))


def read_scale(value: Any, bins: Any, where: str, problems: list[str]) -> Scale | None:
    """Read a scale from its YAML values; None if it is not valid.

    Args:
        value: the value of the key ``scale``.
        bins: the value of the key ``bins``; None if it is absent.
        where: the dimension, for messages.
        problems: a list to which problems are added.
    """
    before = len(problems)
    if isinstance(value, Mapping):
        points = _range(value, where, problems)
    elif _is_labels(value):
        return _labels(value, bins, where, problems)
    else:
        points = _numbers(value, where, problems)
    if len(problems) > before:
        return None
    if bins is not None:
        return _bins(points, bins, where, problems)
    if len(points) > MOST_POINTS:
        problems.append(
            f"{where}.scale has {len(points)} points, at most {MOST_POINTS} can be scored: set a larger step, or "
            "bins: 9"
        )
        return None
    return Scale(points=points, answers=tuple(map(number_text, points)))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_labels(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 1
        and all(isinstance(item, str) for item in value)
    )


def _numbers(value: Any, where: str, problems: list[str]) -> tuple[float, ...]:
    points = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(points) < 2 or not all(map(_is_number, points)):
        problems.append(
            f"{where}.scale must list at least two numbers, or at least two labels in quotes, or be a range "
            f"{{from: 0, to: 100}}, got {list(points)}"
        )
        return ()
    if list(points) != sorted(set(points)):
        problems.append(f"{where}.scale must ascend without repeats, got {list(points)}")
    return _whole(points)


def _range(value: Mapping[Any, Any], where: str, problems: list[str]) -> tuple[float, ...]:
    values = (value.get("from"), value.get("to"), value.get("step", 1))
    numbers = [number for number in values if number is not None and _is_number(number)]
    if set(value) - {"from", "to", "step"} or len(numbers) < 3:
        problems.append(
            f"{where}.scale must be a list, or have the numbers from, to and optionally step, got {dict(value)}"
        )
        return ()
    low, high, step = numbers
    count = (high - low) / step if step > 0 else 0
    if low >= high or step <= 0 or abs(count - round(count)) > 1e-6:
        problems.append(
            f"{where}.scale must rise from {low} to {high} in whole steps of {step}: choose a positive step that "
            "divides the range"
        )
        return ()
    # Rounding removes the error of sums such as 0.1 + 0.2.
    return _whole([round(low + index * step, 9) for index in range(round(count) + 1)])


def _whole(points: Sequence[float]) -> tuple[float, ...]:
    """The points; whole numbers are converted to int."""
    return tuple(int(point) if point == int(point) else point for point in points)


def _labels(labels: Sequence[str], bins: Any, where: str, problems: list[str]) -> Scale | None:
    before = len(problems)
    if bins is not None:
        problems.append(f"{where}.bins has no meaning for labels: leave it out")
    wrong = [text for text in labels if not text.strip() or text != text.strip() or "\n" in text]
    if wrong:
        problems.append(
            f"{where}.scale has labels that are empty or begin or end with white space: {wrong}"
        )
    if missing := [text for text in labels if text.strip() and is_missing(text)]:
        problems.append(
            f"{where}.scale has the label {missing[0]}, which stands for a missing rating: choose another text"
        )
    if len(set(labels)) < len(labels):
        problems.append(f"{where}.scale has the same label twice, got {list(labels)}")
    numbers = [text for text in labels if text.strip().lstrip("+-").replace(".", "", 1).isdigit()]
    if numbers:
        problems.append(f"{where}.scale has numbers in quotes ({numbers}): leave out the quotes")
    if len(labels) > MOST_POINTS:
        problems.append(f"{where}.scale has {len(labels)} labels, at most {MOST_POINTS} are valid")
    if len(problems) > before:
        return None
    return Scale(points=tuple(range(1, len(labels) + 1)), answers=tuple(labels))


def _bins(points: Sequence[float], bins: Any, where: str, problems: list[str]) -> Scale | None:
    most = min(len(points) - 1, MOST_POINTS)
    steps = {round(after - before, 9) for before, after in pairwise(points)}
    if type(bins) is not int or not 2 <= bins <= most or len(steps) > 1:
        problems.append(
            f"{where}.bins must be a whole number from 2 to {most}, fewer than the points of an evenly spaced scale, "
            f"got {bins!r}: up to 9 bins are scored at one token"
        )
        return None
    low, high = points[0], points[-1]
    values = [round(low + (high - low) * index / (bins - 1), 9) for index in range(bins)]
    return Scale(
        points=_whole(values),
        answers=tuple(str(number) for number in range(1, bins + 1)),
        bins=True,
    )


def read_meanings(
    value: Any, scale: Scale, where: str, problems: list[str]
) -> dict[float, str] | None:
    """The meaning of each explained point; keys are points or, without bins, answers. None if a key is neither."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        problems.append(f"{where}.scores must be a mapping from each score to its meaning")
        return None
    points: dict[str, float] = dict(zip(map(number_text, scale.points), scale.points, strict=True))
    if not scale.bins:
        points = dict(zip(scale.answers, scale.points, strict=True))
    keys = {key: number_text(key) if _is_number(key) else str(key) for key in value}
    odd = [key for key, text in keys.items() if text not in points]
    if odd:
        problems.append(
            f"{where}.scores explains {odd}, which are no scores of {shortened(list(points))}"
        )
        return None
    return {points[text]: value[key] for key, text in keys.items()}


def shortened(answers: Sequence[str]) -> str:
    """The answers as text; of many answers, the first three and the last."""
    texts = answers if len(answers) <= _LISTED else [*answers[:3], "…", answers[-1]]
    return " | ".join(texts)
