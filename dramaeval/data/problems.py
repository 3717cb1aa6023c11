"""Problems of a data file, which are reported together in one table."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from dramaeval.errors import UserFacingError

COLUMNS = ("file", "line", "id", "key", "problem", "fix")

ROWS_PER_KIND = 5
"""Number of problems of one kind (with the same fix) that are shown; further ones are only counted."""

_BETWEEN = 3  # number of characters between two columns
_LONGEST_WORD = 160  # longer names and paths are wrapped

KINDS_SHOWN = 12
"""Number of kinds of problems that are shown; further ones are only counted."""


class Finding(NamedTuple):
    """A problem of one record, without the file and line of the record."""

    key: str | None
    problem: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem of a line of a data file, or of the whole file (`line` is None).

    Problems with the same `fix` are one kind and are shown together.
    """

    file: Path
    line: int | None
    id: str | None
    key: str | None
    problem: str
    fix: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; metrics.json has skipped records in this form."""
        return {
            "file": printable(str(self.file)),
            "line": self.line,
            "id": None if self.id is None else printable(self.id),
            "key": self.key,
            "problem": printable(self.problem),
            "fix": self.fix,
        }


class BadRecordsError(UserFacingError):
    """A data file cannot be used; `problems` lists every reason, `str()` returns them as a table."""

    #: Titles of the table's columns.
    titles: ClassVar[Sequence[str]] = COLUMNS

    def __init__(self, problems: Sequence[Problem], advice: str = "") -> None:
        self.problems = tuple(problems)
        self.advice = advice
        super().__init__(self.problems, advice)

    def __str__(self) -> str:
        parts = [headline(self.problems) + ":", problem_table(self.problems, titles=self.titles)]
        return "\n".join(parts + ([self.advice] if self.advice else []))


def headline(problems: Sequence[Problem]) -> str:
    """The number of problems, such as `3 problems in 2 records of data/test.jsonl`."""
    lines = {(p.file, p.line) for p in problems if p.line is not None}
    files = sorted({shown_path(p.file) for p in problems})
    where = files[0] if len(files) == 1 else f"{len(files)} files"
    inside = f"{counted(len(lines), 'record')} of {where}" if lines else where
    return f"{counted(len(problems), 'problem')} in {inside}"


def problem_table(problems: Sequence[Problem], titles: Sequence[str] = COLUMNS) -> str:
    """The problems as a text table with the columns `COLUMNS`, which may have other `titles`.

    Problems of one kind are adjacent, and their fix is written once. At most `ROWS_PER_KIND` rows of a
    kind and `KINDS_SHOWN` kinds are shown; the others are counted.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(_rows(problems))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    widths = _widths(titles, rows, max(shutil.get_terminal_size((140, 24)).columns, 100))
    for title, column_width in zip(titles, widths, strict=True):
        table.add_column(title, overflow="fold", width=column_width)
    for row in rows:
        table.add_row(*map(Text, row))
    columns = sum(widths) + _BETWEEN * len(widths)
    text = io.StringIO()
    Console(file=text, width=columns, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def counted(number: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_of(names: Sequence[str]) -> str:
    """`a, b, c`, or `a, b, c, …` if there are more names."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def cut(text: str, most: int) -> str:
    """The text, cut to ``most`` characters with … at the end if it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def one_line(text: str, most: int) -> str:
    """The text with single spaces in place of line breaks and runs of spaces, cut to ``most`` characters."""
    return cut(" ".join(text.split()), most)


def line_list(lines: Iterable[int]) -> str:
    """`line 3`, `lines 1-4, 9`; after 8 ranges, the other lines are only counted."""
    numbers = sorted(set(lines))
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    shown = [str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in ranges[:8]]
    hidden = sum(map(len, ranges[8:]))
    rest = f" and {hidden:,} more" if hidden else ""
    return f"line{'' if len(numbers) == 1 else 's'} {', '.join(shown)}{rest}"


def printable(text: str) -> str:
    """The text with escaped control characters and invalid Unicode, so that it can be printed and saved."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown_path(path: Path) -> str:
    """The path, relative to the working directory if that is shorter."""
    text = str(path)
    try:
        relative = os.path.relpath(text)
    except (OSError, ValueError):  # the working directory is gone, or another drive on Windows
        return printable(text)
    return printable(min(text, relative, key=len))


def _widths(titles: Sequence[str], rows: Sequence[Sequence[str]], total: int) -> list[int]:
    """Widths of the columns; problem and fix get the rest of `total`.

    Names and paths are not wrapped, so that they can be searched and copied; the table may then be wider than `total`.
    """
    from rich.cells import cell_len

    columns = list(zip(titles, *rows, strict=True))
    words = [[word for cell in column for word in cell.split(" ")] for column in columns]
    longest_word = [min(max(map(cell_len, column)), _LONGEST_WORD) for column in words]
    widest = [min(max(map(cell_len, column)), _LONGEST_WORD) for column in columns]
    room = total - sum(widest[:-2]) - _BETWEEN * len(columns)
    problem = max(longest_word[-2], min(widest[-2], room // 2))
    fix = max(longest_word[-1], min(widest[-1], room - problem))
    return [*widest[:-2], problem, fix]


def _rows(problems: Sequence[Problem]) -> Iterator[tuple[str, ...]]:
    """The cells of the table's rows; if there is only one file, without its folder."""
    several_files = len({problem.file for problem in problems}) > 1
    by_kind: dict[tuple[Path, str], list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault((problem.file, problem.fix), []).append(problem)
    kinds = list(by_kind.values())
    for kind in kinds[:KINDS_SHOWN]:
        for row, problem in enumerate(kind[:ROWS_PER_KIND]):
            cells = (
                shown_path(problem.file) if several_files else problem.file.name,
                "" if problem.line is None else str(problem.line),
                problem.id or "",
                problem.key or "",
                problem.problem,
                problem.fix if row == 0 else '"',
            )
            yield tuple(printable(cell) for cell in cells)
        if rest := kind[ROWS_PER_KIND:]:
            lines = [problem.line for problem in rest if problem.line is not None]
            listed = f" ({line_list(lines)})" if lines else ""
            yield _note(f"… and {len(rest):,} more like these{listed}")
    if hidden := kinds[KINDS_SHOWN:]:
        total = counted(sum(len(kind) for kind in hidden), "more problem")
        yield _note(f"… and {total} of {counted(len(hidden), 'other kind')}")


def _note(text: str) -> tuple[str, ...]:
    return tuple(text if column == "problem" else "" for column in COLUMNS)
