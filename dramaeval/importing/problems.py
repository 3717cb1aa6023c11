"""Problems of a source, reported together in one table with the file, the row and the column of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dramaeval.data.problems import BadRecordsError, Problem

_LONGEST = 60


class BadSourceError(BadRecordsError):
    """A source cannot be imported; `problems` holds every reason, `str()` returns their table."""

    titles = ("file", "row", "clip", "column", "problem", "fix")


def shown(value: Any) -> str:
    """A cell's value for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def in_file(file: Path, problem: str, fix: str, column: str | None = None) -> Problem:
    """A problem of a file as a whole, or of one of its columns."""
    return Problem(file=file, line=None, id=None, key=column, problem=problem, fix=fix)


def raise_all(problems: Sequence[Problem], advice: str = "") -> None:
    """Raise the problems if there are any.

    Raises:
        BadSourceError: with all of them.
    """
    if problems:
        raise BadSourceError(problems, advice)
