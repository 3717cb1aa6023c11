"""Problems of a source, which are reported in one table with file, row and column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dramaeval.data.problems import BadRecordsError, Problem


class BadSourceError(BadRecordsError):
    """A source cannot be imported; `problems` lists every reason, `str()` returns them as a table."""

    titles = ("file", "row", "clip", "column", "problem", "fix")

    @classmethod
    def of_file(cls, file: Path, problem: str, fix: str) -> BadSourceError:
        """The error for one problem of a whole file."""
        return cls([in_file(file, problem, fix)])


def in_file(file: Path, problem: str, fix: str, column: str | None = None) -> Problem:
    """A problem of a whole file or of a column."""
    return Problem(file=file, line=None, id=None, key=column, problem=problem, fix=fix)


def raise_all(problems: Sequence[Problem], advice: str = "") -> None:
    """Raise BadSourceError if there are problems."""
    if problems:
        raise BadSourceError(problems, advice)
