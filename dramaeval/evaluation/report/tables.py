"""Tables of results: one form for the page, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dramaeval.data.csv_text import csv_text
from dramaeval.evaluation.report.markup import in_markdown, shortened

NOTHING = "–"
MOST_CELLS = 10_000
"""Cells of one table on a page: about 1 MB."""
LEAST_ROWS = 20
"""Rows that are shown of a table, however many columns it has."""
MOST_LETTERS = 1_000
"""Letters of one cell or note on a page."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table.

    Attributes:
        text: as it is shown.
        sort: what the column is sorted by; the text where it is None.
        note: smaller, beside it: an interval.
        missing: why there is no value.
        strong: whether it stands out.
        bounds: of its interval, unrounded.
    """

    text: str
    sort: float | str | None = None
    note: str = ""
    missing: str = ""
    strong: bool = False
    bounds: tuple[float, float] | None = None

    @property
    def plain(self) -> str:
        """Value and note on one line."""
        return f"{self.text} {self.note}".strip()


@dataclass(frozen=True)
class Column:
    """A column: its title, whether it holds numbers, and what it means."""

    title: str
    numeric: bool = True
    help: str = ""


@dataclass
class Table:
    """Rows under columns; ``foot`` rows stay below however the others are sorted."""

    caption: str
    columns: Sequence[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    foot: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def first_rows(table: Table, elsewhere: str, most: int | None = None) -> Table:
    """The table as a page or a Markdown file shows it: bounded, with a note on what is left out.

    Args:
        table: of any size.
        elsewhere: the file that has all rows.
        most: rows that are shown; where it is None, as many as `MOST_CELLS` allow.
    """
    if most is None:
        most = max(LEAST_ROWS, MOST_CELLS // len(table.columns))
    rows = [[_bounded(cell) for cell in row] for row in table.rows[:most]]
    notes = list(table.notes)
    if len(table.rows) > most:
        notes.insert(
            0, f"The first {most:,} of {len(table.rows):,} rows; {elsewhere} has all of them."
        )
    return replace(table, rows=rows, notes=[shortened(note, MOST_LETTERS) for note in notes])


def _bounded(cell: Cell) -> Cell:
    if len(cell.text) <= MOST_LETTERS:
        return cell
    return replace(cell, text=shortened(cell.text, MOST_LETTERS))


def number(value: float | None, digits: int = 2, *, missing: str = "", sign: bool = False) -> Cell:
    """A number, or a dash with the reason."""
    if value is None:
        return Cell(NOTHING, missing=missing or "not defined")
    return Cell(shown(value, digits, sign=sign), sort=value)


def shown(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """A number as people read it: a true minus sign, and no "−0.00"."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return f"{0:.{digits}f}"
    if value < 0:
        return "−" + text[1:]
    return f"+{text}" if sign else text


def with_interval(
    value: float | None,
    bounds: Sequence[float] | None,
    digits: int = 2,
    *,
    missing: str = "",
    sign: bool = False,
) -> Cell:
    """A number with its interval beside it; strong where a difference's interval leaves out zero."""
    if value is None:
        return number(None, missing=missing)
    note, strong = "", False
    if bounds is not None:
        low, high = (shown(bound, digits, sign=sign) for bound in bounds)
        note = f"[{low}, {high}]"
        strong = sign and (bounds[0] > 0 or bounds[1] < 0)
    return Cell(
        shown(value, digits, sign=sign),
        sort=value,
        note=note,
        strong=strong,
        bounds=None if bounds is None else (bounds[0], bounds[1]),
    )


def count(value: int) -> Cell:
    """A whole number."""
    return Cell(f"{value:,}", sort=value)


def markdown(table: Table) -> str:
    """The table for a paper or a README; notes below."""
    head = [in_markdown(column.title) for column in table.columns]
    align = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [
        [f"{in_markdown(cell.text)} {cell.note}".strip() for cell in row]
        for row in [*table.rows, *table.foot]
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, align, *rows)]
    notes = [f"\n{in_markdown(note)}" for note in table.notes]
    return "\n".join([f"### {in_markdown(table.caption)}", "", *lines, *notes]) + "\n"


def comma_separated(table: Table) -> str:
    """The table as CSV, numbers unrounded; an interval takes two columns, low and high."""
    rows = [*table.rows, *table.foot]
    columns = list(zip(*rows, strict=True)) or [() for _ in table.columns]
    bounded = [any(cell.bounds for cell in cells) for cells in columns]
    head: list[str] = []
    for column, has in zip(table.columns, bounded, strict=True):
        head.append(column.title)
        head += [f"{column.title} low", f"{column.title} high"] if has else []
    lines: list[list[object]] = [[*head]]
    for row in rows:
        values: list[object] = []
        for cell, has in zip(row, bounded, strict=True):
            values.append("" if cell.missing else cell.text if cell.sort is None else cell.sort)
            values += list(cell.bounds or ("", "")) if has else []
        lines.append(values)
    return csv_text(lines)
