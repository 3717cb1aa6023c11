"""Tables of results for HTML pages, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dramaeval.data.csv_text import csv_text
from dramaeval.evaluation.report.markup import in_markdown, shortened

NOTHING = "–"
MOST_CELLS = 10_000
"""Maximum number of cells of a table on a page: about 1 MB."""
LEAST_ROWS = 20
"""A table with many columns still shows at least this number of rows."""
MOST_LETTERS = 1_000
"""Maximum length of a cell or note on a page."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table.

    Attributes:
        text: the displayed text.
        sort: the sort key; None sorts by the text.
        note: an interval, in small print.
        missing: the reason why there is no value.
        strong: whether the cell is in bold.
        bounds: the interval, unrounded.
    """

    text: str
    sort: float | str | None = None
    note: str = ""
    missing: str = ""
    strong: bool = False
    bounds: tuple[float, float] | None = None

    @property
    def plain(self) -> str:
        """Text and note on one line."""
        return f"{self.text} {self.note}".strip()


@dataclass(frozen=True)
class Column:
    """A column: its title, whether it has numbers, and an explanation."""

    title: str
    numeric: bool = True
    help: str = ""


@dataclass
class Table:
    """Rows under columns; sorting leaves the ``foot`` rows at the bottom."""

    caption: str
    columns: Sequence[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    foot: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


#: Columns, each with the function that makes its cell from the values of a row.
Columns = dict[Column, Callable[[Any], Cell]]


def table_of(
    caption: str,
    head: str,
    columns: Columns,
    rows: Iterable[tuple[str, Any]],
    foot: Iterable[tuple[str, Any]] = (),
    notes: Sequence[str] = (),
) -> Table:
    """Make a table from named rows.

    Args:
        caption: caption of the table.
        head: title of the first column, which has the names of the rows.
        columns: the other columns.
        rows: name and values of each row.
        foot: name and values of each row at the bottom.
        notes: notes below the table.
    """

    def cells(name: str, values: Any) -> list[Cell]:
        return [Cell(name), *(cell(values) for cell in columns.values())]

    return Table(
        caption,
        [Column(head, numeric=False), *columns],
        [cells(*row) for row in rows],
        [cells(*row) for row in foot],
        list(notes),
    )


def first_rows(table: Table, elsewhere: str, most: int | None = None) -> Table:
    """Bound a table for a page or a Markdown file, and add a note about the rows left out.

    Args:
        table: a table of any size.
        elsewhere: the file that has all rows.
        most: maximum number of rows; None for as many as `MOST_CELLS` allows.
    """
    if most is None:
        most = max(LEAST_ROWS, MOST_CELLS // len(table.columns))
    rows = [
        [replace(cell, text=shortened(cell.text, MOST_LETTERS)) for cell in row]
        for row in table.rows[:most]
    ]
    notes = [shortened(note, MOST_LETTERS) for note in table.notes]
    if len(table.rows) > most:
        left_out = f"The first {most:,} of {len(table.rows):,} rows; {elsewhere} has all of them."
        notes = [left_out, *notes]
    return replace(table, rows=rows, notes=notes)


def number(value: float | None, digits: int = 2, *, missing: str = "", sign: bool = False) -> Cell:
    """The cell of a number, or of a dash with the reason why there is no number."""
    if value is None:
        return Cell(NOTHING, missing=missing or "not defined")
    return Cell(shown(value, digits, sign=sign), sort=value)


def shown(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """Format a number with a minus sign instead of a hyphen; zero has no sign."""
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
    """The cell of a number with its interval; a difference (``sign``) whose interval excludes zero is in bold."""
    cell = number(value, digits, missing=missing, sign=sign)
    if value is None or bounds is None:
        return cell
    low, high = bounds
    note = f"[{shown(low, digits, sign=sign)}, {shown(high, digits, sign=sign)}]"
    return replace(cell, note=note, strong=sign and (low > 0 or high < 0), bounds=(low, high))


def count(value: int) -> Cell:
    """The cell of an integer."""
    return Cell(f"{value:,}", sort=value)


def count_of(key: str) -> Callable[[Mapping[str, Any]], Cell]:
    """A function for `Columns`: the cell of the integer at a key."""
    return lambda values: count(values[key])


def yes_or_no(value: bool | None, missing: str) -> Cell:
    """The cell of yes or no; for None, of a dash with the reason."""
    return Cell(NOTHING, missing=missing) if value is None else Cell("yes" if value else "no")


def interval_note(bootstrap: Mapping[str, Any], units: str, undefined: str) -> str:
    """A note about the intervals in brackets, or the reason why there are none."""
    if not bootstrap["draws"]:
        return f"No intervals: {undefined}."
    level, draws = bootstrap["level"], bootstrap["draws"]
    return f"In brackets: {level:.0%} intervals of {draws:,} bootstrap draws{units}."


def markdown(table: Table) -> str:
    """Format the table in Markdown, with its notes below."""
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
    """Format the table as CSV with unrounded numbers; an interval has two columns, low and high."""
    rows = [*table.rows, *table.foot]
    columns = list(zip(*rows, strict=True)) or [() for _ in table.columns]
    bounded = [any(cell.bounds for cell in cells) for cells in columns]
    head: list[object] = []
    for column, has_bounds in zip(table.columns, bounded, strict=True):
        head.append(column.title)
        head += [f"{column.title} low", f"{column.title} high"] if has_bounds else []
    lines = [head]
    for row in rows:
        values: list[object] = []
        for cell, has_bounds in zip(row, bounded, strict=True):
            values.append("" if cell.missing else cell.text if cell.sort is None else cell.sort)
            values += (cell.bounds or ("", "")) if has_bounds else ()
        lines.append(values)
    return csv_text(lines)
