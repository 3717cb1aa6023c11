"""CSV, as every table here is written: a spreadsheet takes no cell for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
#: What a cell begins with that a spreadsheet computes, or that hides such a sign from it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV (RFC 4180, lines end with a newline alone).

    A text that a spreadsheet would compute gets an apostrophe in front (CWE-1236); numbers, also as text, stay
    as they are.
    """
    return "".join(_line(row) for row in rows)


def _line(row: Sequence[object]) -> str:
    file = io.StringIO()
    # The module `csv` quotes the characters of its line ends alone, and a lone \r ends a line for a reader.
    csv.writer(file, lineterminator="\r\n").writerow([_safe(cell) for cell in row])
    return file.getvalue().removesuffix("\r\n") + "\n"


def _safe(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
