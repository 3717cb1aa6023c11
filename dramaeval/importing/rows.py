"""Rows, the common form of all sources: a mapping of columns to values for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dramaeval.data.problems import Problem


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a source.

    Attributes:
        file: the file that contains the row.
        number: the number of the row in its file or sheet, from 1; headers count too.
        values: the values of the source, which records keep.
        derived: further columns, which the importer's settings compute from the values.
        split: the split of the file, if the source has a file for each split.
    """

    file: Path
    number: int
    values: Mapping[str, Any]
    derived: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None

    def get(self, column: str) -> Any:
        """The value of a column; None if the row has none."""
        return self.derived[column] if column in self.derived else self.values.get(column)

    def problem(self, column: str | None, problem: str, fix: str, clip: Any = None) -> Problem:
        """A problem of this row."""
        name = None if clip is None else str(clip)
        return Problem(
            file=self.file, line=self.number, id=name, key=column, problem=problem, fix=fix
        )


@dataclass(kw_only=True)
class Table:
    """The rows of one or several files.

    Attributes:
        columns: the names of the columns in order.
        rows: the rows in order.
        problems: problems of rows that could not be read.
        notices: remarks for the user about unusual but valid properties.
        left_out: the number of rows that ``importer.where`` leaves out.
    """

    columns: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    left_out: int = 0

    def append(self, row: Row) -> None:
        """Append a row; its new columns become the last columns."""
        self.rows.append(row)
        self.columns += [name for name in (*row.values, *row.derived) if name not in self.columns]

    def add(self, other: Table) -> None:
        """Append another table; its new columns become the last columns."""
        self.columns += [name for name in other.columns if name not in self.columns]
        self.rows += other.rows
        self.problems += other.problems
        self.notices += other.notices
        self.left_out += other.left_out
