"""Reads the values of one JSON line of results; errors name the key."""

from __future__ import annotations

import math
from typing import Any


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


def list_of(values: dict[str, Any], key: str) -> list[Any]:
    """The list under a key; raises ValueError if there is none."""
    value = values.get(key)
    if not isinstance(value, list):
        kind = kind_of(value) if key in values else "absent"
        raise ValueError(f"'{key}' must be a list, not {kind}")
    return value


def numbers_of(values: dict[str, Any], key: str) -> tuple[float, ...]:
    """The list of finite numbers under a key; raises ValueError if it has another value, and names it."""
    entries = list_of(values, key)
    if are_floats(entries):
        return tuple(entries)
    numbers = [finite_number(value, key) for value in entries]
    if None in numbers:
        raise ValueError(f"'{key}' must hold finite numbers, not null")
    return tuple(number for number in numbers if number is not None)


def optional_numbers_of(values: dict[str, Any], key: str) -> tuple[float | None, ...]:
    """The list of finite numbers under a key, with None for null."""
    entries = list_of(values, key)
    if are_floats(entries, missing=True):
        return tuple(entries)
    return tuple(finite_number(value, key) for value in entries)


def are_floats(entries: list[Any], *, missing: bool = False) -> bool:
    """Whether all values are finite floats (or None, with ``missing``): a fast check that avoids conversion."""
    types = {float, type(None)} if missing else {float}
    return types.issuperset(map(type, entries)) and math.isfinite(sum(filter(None, entries)))
