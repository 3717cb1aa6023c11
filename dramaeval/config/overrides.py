"""Writes values in the grammar of Hydra's command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dramaeval.config.literal import literal


def as_override(value: Any) -> str:
    """A value in the grammar of Hydra's command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_override, value))}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{as_override(inner)}" for key, inner in value.items()) + "}"
    if not isinstance(value, str):
        return str(value)
    # A text is quoted if it could be read as another type, or contains characters of the grammar.
    plain = value[:1].isalpha() and all(char.isalnum() or char in "_-./" for char in value)
    if plain and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    # Backslashes are literal, except before a quote and at the end, where they are doubled.
    return "'" + re.sub(r"(\\*)('|$)", _double_backslashes, literal(value)) + "'"


def _double_backslashes(match: re.Match[str]) -> str:
    return match[1] * 2 + ("\\'" if match[2] else "")
