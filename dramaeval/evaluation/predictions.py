"""A judge's prediction for one record and dimension, with the ratings; stored as JSONL."""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dramaeval.data.jsonl import json_lines
from dramaeval.data.raters import POSITIONAL, RaterInfo
from dramaeval.errors import UserFacingError
from dramaeval.evaluation.json_values import (
    finite_number,
    kind_of,
    numbers_of,
    optional_numbers_of,
    optional_text_of,
    plain_values,
    text_of,
)

SCORED = "scored"
"""The state of a prediction with an expected score; any other state is the reason why there is none."""

PHASES = {"zero_shot": "zero-shot", "final": "final"}
"""Titles of the phases of a run, in their order."""

PROBLEMS_SHOWN = 20
"""Maximum number of bad lines in one error message; the others are counted."""


class PredictionsError(UserFacingError, ValueError):
    """A predictions file cannot be used; the message names the file, the lines and the reasons."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One line of `predictions.jsonl`: a record × a dimension.

    Attributes:
        scale: the scores in rising order.
        distribution: probability of each score, with sum 1; None if the record is unscored, or an imported result
            has only an expected score.
        expected: Σ k·p(k); None if the record is unscored.
        ratings: one value per rater, None if it is missing; or only the mean of the ratings.
        state: `SCORED`, or why there is no score.
        group: the character or scene whose records the bootstrap draws together.
        system: the speaker or synthesiser of the clip.
        wordings: the expected score under each of several wordings, whose mean is `expected`; None with one wording.
        raters: who gave the ratings; by default, position k is the same rater in all lines of a file.
        thoughts: the expected score after each of several sampled thoughts, wording by wording; None for a thought
            that does not end, and None in place of the tuple if no thoughts are sampled.
        thought_texts: the generated thoughts in the same order; None if they are not kept.
        mean_rating: mean of the ratings that are not missing; None without ratings.

    Raises ValueError, which names the field, if the values contradict each other.
    """

    id: str
    dimension: str
    scale: tuple[float, ...]
    distribution: tuple[float, ...] | None
    expected: float | None
    ratings: tuple[float | None, ...]
    state: str
    group: str | None = None
    system: str | None = None
    wordings: tuple[float, ...] | None = None
    raters: RaterInfo = POSITIONAL
    thoughts: tuple[float | None, ...] | None = None
    thought_texts: tuple[str, ...] | None = None
    mean_rating: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _rises(self.scale):
            raise ValueError(f"scale {list(self.scale)} needs two or more scores in rising order")
        low, high = self.scale[0], self.scale[-1]
        present = [rating for rating in self.ratings if rating is not None]
        # The sum detects NaN: min and max are NaN only if it comes first.
        if present and not (
            low <= min(present) and max(present) <= high and sum(present) < math.inf
        ):
            wrong = next(rating for rating in present if not low <= rating <= high)
            raise ValueError(f"ratings hold {wrong}, off the scale {low:g}-{high:g}")
        mean = math.fsum(present) / len(present) if present else None
        object.__setattr__(self, "mean_rating", mean)
        self._check_distribution()
        if self.state == SCORED and self.expected is None:
            raise ValueError(f"state is '{SCORED}' but expected is missing")
        if self.state != SCORED and (self.expected is not None or self.distribution is not None):
            raise ValueError(f"state is '{self.state}', yet there is a score or distribution")
        # The tolerance allows for the rounding of a sum in single precision.
        tolerance = 1e-4 * (high - low)
        if self.expected is not None and not low - tolerance <= self.expected <= high + tolerance:
            raise ValueError(f"expected is {self.expected}, off the scale {low:g}-{high:g}")

    def _check_distribution(self) -> None:
        if self.distribution is None:
            return
        if len(self.distribution) != len(self.scale):
            raise ValueError(
                f"distribution has {len(self.distribution)} values for {len(self.scale)} scores"
            )
        total = math.fsum(self.distribution)
        if not min(self.distribution) >= 0 or math.isnan(total):
            raise ValueError("distribution holds a negative or undefined probability")
        if abs(total - 1) > 1e-3:
            raise ValueError(f"distribution sums to {total:.6g}, not to 1")
        if self.expected is not None:
            mean = math.fsum(map(operator.mul, self.scale, self.distribution))
            if abs(mean - self.expected) > 0.01 * (self.scale[-1] - self.scale[0]):
                raise ValueError(
                    f"expected is {self.expected:.6g}, but the distribution's mean is {mean:.6g}"
                )

    @property
    def scored(self) -> bool:
        """Whether there is an expected score."""
        return self.state == SCORED

    @property
    def spread(self) -> float | None:
        """Standard deviation of the distribution, in score units; None without a distribution."""
        if self.distribution is None:
            return None
        mean = math.fsum(k * p for k, p in zip(self.scale, self.distribution, strict=True))
        squares = ((k - mean) ** 2 * p for k, p in zip(self.scale, self.distribution, strict=True))
        return math.sqrt(math.fsum(squares))

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object, in a fixed order; the keys of thoughts only if there are thoughts."""
        values = plain_values(self) | {"raters": self.raters.to_json()}
        del values["mean_rating"]
        for name in ("thoughts", "thought_texts"):
            if values[name] is None:
                del values[name]
        return values

    @classmethod
    def from_json(cls, values: Any) -> Prediction:
        """Make a prediction from the result of `to_json`; further keys are ignored.

        Raises ValueError, which names the key, if a key is missing or of the wrong type.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a prediction is a JSON object, not {kind_of(values)}")
        distribution, ratings = values.get("distribution"), optional_numbers_of(values, "ratings")
        return cls(
            id=text_of(values, "id"),
            dimension=text_of(values, "dimension"),
            scale=numbers_of(values, "scale"),
            distribution=None if distribution is None else numbers_of(values, "distribution"),
            expected=finite_number(values.get("expected"), "expected"),
            ratings=ratings,
            state=text_of(values, "state"),
            group=optional_text_of(values, "group"),
            system=optional_text_of(values, "system"),
            wordings=numbers_of(values, "wordings") if values.get("wordings") else None,
            thoughts=optional_numbers_of(values, "thoughts") if values.get("thoughts") else None,
            thought_texts=_texts_of(values.get("thought_texts")),
            raters=RaterInfo.from_json(values.get("raters"), len(ratings)),
        )


def _texts_of(texts: Any) -> tuple[str, ...] | None:
    if texts is None:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("thought_texts is not a list of texts")
    return tuple(texts)


@lru_cache(maxsize=256)
def _rises(scale: tuple[float, ...]) -> bool:
    return len(scale) >= 2 and list(scale) == sorted(set(scale))


class _OfRecord(Protocol):
    """A prediction of a record on a dimension."""

    @property
    def id(self) -> str:
        """Id of the record."""

    @property
    def dimension(self) -> str:
        """Key of the dimension."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""


OfRecord = TypeVar("OfRecord", bound=_OfRecord)


def by_dimension_of(
    predictions: Iterable[OfRecord], dimensions: Sequence[str]
) -> dict[str, list[OfRecord]]:
    """The predictions by dimension, in the order of ``dimensions``; an empty list for a dimension without predictions.

    Raises:
        ValueError: a record is predicted twice on a dimension, or on a dimension that is not listed.
    """
    by_dimension: dict[str, list[OfRecord]] = {key: [] for key in dimensions}
    seen: set[tuple[str, str]] = set()
    for prediction in predictions:
        key = (prediction.id, prediction.dimension)
        if key in seen:
            raise ValueError(f"record '{key[0]}' is predicted twice on '{key[1]}'")
        if prediction.dimension not in by_dimension:
            raise ValueError(
                f"record '{key[0]}' is predicted on '{key[1]}', which is not among the dimensions "
                f"{', '.join(dimensions)}"
            )
        seen.add(key)
        by_dimension[prediction.dimension].append(prediction)
    return by_dimension


def prediction_line(prediction: _OfRecord) -> str:
    """The prediction as one line of JSON without its line break; raises ValueError on NaN."""
    return json.dumps(prediction.to_json(), ensure_ascii=False, allow_nan=False)


def read_predictions(path: str | os.PathLike[str]) -> list[Prediction]:
    """Read a predictions file, in the order of its lines.

    Raises PredictionsError, which names every bad line: not JSON, a missing key, values that contradict
    each other, or a repeated record × dimension. Raises OSError if the file cannot be opened.
    """
    return read_prediction_lines(path, Prediction.from_json)


def read_prediction_lines(
    path: str | os.PathLike[str], from_json: Callable[[Any], OfRecord]
) -> list[OfRecord]:
    """Read a file with one prediction per line, in the order of its lines.

    Args:
        path: the file.
        from_json: makes a prediction from the values of a line; raises ValueError for bad values.

    Raises:
        PredictionsError: it names every bad line, see `read_predictions`.
        OSError: the file cannot be opened.
    """
    predictions: list[OfRecord] = []
    problems: list[str] = []
    seen: dict[tuple[str, str], int] = {}
    for number, line in json_lines(Path(path)):
        try:
            prediction = from_json(json.loads(line))
        except ValueError as error:  # bad JSON and bad UTF-8 are ValueErrors too
            problems.append(f"line {number}: {error}")
            continue
        key = (prediction.id, prediction.dimension)
        if key in seen:
            problems.append(f"line {number}: {key[0]} × {key[1]} is already on line {seen[key]}")
            continue
        seen[key] = number
        predictions.append(prediction)
    if problems:
        raise PredictionsError(_report(path, problems))
    return predictions


def _report(path: str | os.PathLike[str], problems: list[str]) -> str:
    head = f"{os.fspath(path)}: {len(problems):,} bad line{'s' if len(problems) > 1 else ''}"
    fix = "Remove these lines, or evaluate again to replace the file."
    return "\n".join([head, first_problems(problems), fix])


def first_problems(problems: Sequence[str]) -> str:
    """The first problems, one a line, and the number of the others."""
    lines = [f"  {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"  … and {len(problems) - PROBLEMS_SHOWN:,} more")
    return "\n".join(lines)
