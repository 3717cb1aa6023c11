"""CSV whose cells no spreadsheet executes as formulas; all CSV tables are written with this module."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
#: First characters of a formula, and characters behind which a formula can hide.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV (RFC 4180, but lines end with a newline only).

    A text that a spreadsheet would execute gets an apostrophe in front (CWE-1236); numbers do not, also if they are text.
    """
    return "".join(_line(row) for row in rows)


def _line(row: Sequence[object]) -> str:
    file = io.StringIO()
    # The module `csv` quotes only the characters of its line terminator, but readers also end a line at \r.
    csv.writer(file, lineterminator="\r\n").writerow([_safe(cell) for cell in row])
    return file.getvalue().removesuffix("\r\n") + "\n"


def _safe(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
