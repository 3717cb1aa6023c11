"""The raters of a record's ratings: named, known by their positions, unknown, or combined in a mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RATERS = "raters"
"""Key of a record for the raters' names in the order of its lists of ratings, or for `UNKNOWN`."""

UNKNOWN = "unknown"
"""The value of `RATERS` and of ``task.raters`` if positions in the lists do not identify raters."""

POSITIONS = "positions"
"""The value of ``task.raters`` if position k is the same rater in every list of a file."""

MEAN, STD, COUNT = "mean", "std", "n"
"""Keys of a mean rating: `{"mean": 3.42, "std": 0.9, "n": 12}`."""

MISSING_RATINGS = frozenset({"", "NA", "N/A"})
"""Strings for a missing rating; case and surrounding spaces are ignored."""

_NUMBER = re.compile(r"\s*-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?\s*")

RaterKey = tuple[str, str | int]
"""A rater: `("id", name)` or `("position", k)`."""


@dataclass(frozen=True, kw_only=True)
class RaterInfo:
    """The raters of one list of ratings; by default, position k is the k-th rater of the file.

    Attributes:
        ids: the name of each value's rater.
        unknown: whether the raters are unknown, so that the order of the values has no meaning.
        mean_only: whether the only value is the mean of unknown ratings.
        std: standard deviation of these n ratings, the root of Σ(r − mean)²/n.
        count: the number n of these ratings.
    """

    ids: tuple[str, ...] | None = None
    unknown: bool = False
    mean_only: bool = False
    std: float | None = None
    count: int | None = None

    @property
    def known(self) -> bool:
        """Whether the rater of each value is known."""
        return not self.unknown and not self.mean_only

    def keys(self, values: int) -> list[RaterKey]:
        """The raters of a number of values; empty if they are not known."""
        if not self.known:
            return []
        if self.ids is None:
            return [("position", position) for position in range(values)]
        return [("id", name) for name in self.ids]

    def to_json(self) -> Any:
        """`null` for positions, a list of names, "unknown", or an object for a mean."""
        if self.mean_only:
            return {MEAN: True, STD: self.std, COUNT: self.count}
        return UNKNOWN if self.unknown else (None if self.ids is None else list(self.ids))

    @classmethod
    def from_json(cls, value: Any, values: int) -> RaterInfo:
        """Read the output of `to_json` for a list of ``values`` ratings; raise a ValueError for another value."""
        if value is None:
            return POSITIONAL
        if value == UNKNOWN:
            return UNKNOWN_RATERS
        if isinstance(value, list) and len(value) == values and all(map(_is_name, value)):
            return cls(ids=tuple(value))
        if isinstance(value, dict) and value.get(MEAN) is True and values == 1:
            std, count = value.get(STD), value.get(COUNT)
            if (std is None or is_number(std)) and (count is None or type(count) is int):
                return cls(mean_only=True, std=std, count=count)
        raise ValueError(
            f"'{RATERS}' must be null, \"{UNKNOWN}\", or a name for each of the {values} ratings"
        )


POSITIONAL = RaterInfo()
UNKNOWN_RATERS = RaterInfo(unknown=True)

Rated = tuple[Sequence[float | None], RaterInfo]
"""The ratings of a record on one dimension, and their raters."""


def rater_table(rows: Iterable[Rated]) -> tuple[list[RaterKey], np.ndarray]:
    """The ratings as a table with a column for each rater.

    Returns:
        the raters, first positions and then names in alphabetical order, and the table ``[rows, raters]`` with NaN for
        missing ratings. If the raters of a row are not known, the whole row is NaN.
    """
    listed = [(info.keys(len(values)), values) for values, info in rows]
    raters = sorted(
        {key for keys, _ in listed for key in keys}, key=lambda key: (key[0] == "id", key[1])
    )
    columns = {key: column for column, key in enumerate(raters)}
    table = np.full((len(listed), len(columns)), np.nan)
    for row, (keys, values) in enumerate(listed):
        # None becomes NaN.
        table[row, [columns[key] for key in keys]] = np.array(values[: len(keys)], dtype=float)
    return raters, table


def raters_of_record(value: Any) -> RaterInfo | str:
    """Read the value of a record's key "raters", which is valid for all its lists; or the problem of the value."""
    if value == UNKNOWN:
        return UNKNOWN_RATERS
    if not isinstance(value, list):
        return f'neither a list of names nor "{UNKNOWN}"'
    names = [str(name) if type(name) is int else name for name in value]
    if not all(map(_is_name, names)):
        return "a name that is neither a text nor a whole number"
    return raters_of_names(names)


def raters_of_names(names: Iterable[str]) -> RaterInfo | str:
    """The raters with these names, without surrounding spaces; or the problem of a name that appears twice."""
    ids = tuple(name.strip() for name in names)
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    if repeated:
        return f"the same rater twice: {', '.join(repeated[:6])}"
    return RaterInfo(ids=ids)


def is_missing(value: Any) -> bool:
    """Whether a value means that a rating is missing."""
    return value is None or (isinstance(value, str) and value.strip().upper() in MISSING_RATINGS)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_quoted_number(value: Any) -> bool:
    """Whether a value is a text with a JSON number without exponent, such as "4", "4.0" or " 3.5 "."""
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
