"""Values of one JSON line of results: plain values of a dataclass, and reading; errors name the key."""

from __future__ import annotations

import math
from typing import Any, cast

_FLOATS = {float, type(None)}


def plain_values(record: object) -> dict[str, Any]:
    """The attributes of a dataclass in order, with lists for tuples."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(record).items()
    }


def kind_of(value: object) -> str:
    """The kind of a JSON value, for messages."""
    names = {str: "text", dict: "an object", list: "a list", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number")


def text_of(values: dict[str, Any], key: str) -> str:
    """The non-empty text under a key; raises ValueError if there is none."""
    value = values.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"'{key}' must be text, not {kind_of(value) if key in values else 'absent'}"
        )
    return value


def optional_text_of(values: dict[str, Any], key: str) -> str | None:
    """The text under a key; None for null and for an absent key."""
    return None if values.get(key) is None else text_of(values, key)


def finite_number(value: Any, key: str) -> float | None:
    """A finite number, or None for null; raises ValueError for anything else."""
    if value is None:
        return None
    # Python's JSON reader accepts NaN and Infinity; true and false are the scores 1 and 0.
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"'{key}' must hold finite numbers, not {value!r}")
    return float(value)


def numbers_of(values: dict[str, Any], key: str) -> tuple[float, ...]:
    """The list of finite numbers under a key; raises ValueError if it has another value, and names it."""
    numbers = optional_numbers_of(values, key)
    if None in numbers:
        raise ValueError(f"'{key}' must hold finite numbers, not null")
    return cast("tuple[float, ...]", numbers)


def optional_numbers_of(values: dict[str, Any], key: str) -> tuple[float | None, ...]:
    """The list of finite numbers under a key, with None for null."""
    entries = values.get(key)
    if not isinstance(entries, list):
        kind = kind_of(entries) if key in values else "absent"
        raise ValueError(f"'{key}' must be a list, not {kind}")
    # A fast check of the usual case, which needs no conversion.
    if _FLOATS.issuperset(map(type, entries)) and math.isfinite(sum(filter(None, entries))):
        return tuple(entries)
    return tuple(finite_number(value, key) for value in entries)
