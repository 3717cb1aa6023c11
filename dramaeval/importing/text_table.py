"""Text tables such as CSV and TSV. The delimiter and the encoding are guessed only if exactly one fits."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Container, Sequence
from pathlib import Path

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.files import UnsuitableFileError, read_regular
from dramaeval.data.problems import counted
from dramaeval.importing.problems import BadSourceError, in_file, raise_all
from dramaeval.importing.rows import Row, Table

DELIMITERS = (",", ";", "\t", "|")
_DELIMITER_LINE = re.compile(r"sep=(.)\r?\n")
_MAX_FIELD = 2**27
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def read_text_table(file: Path, settings: ImporterConfig) -> Table:
    """Read a text table with a header, or with the column names of ``importer.header``.

    Raises:
        BadSourceError: the file cannot be opened or decoded, has no rows, or several delimiters fit.
    """
    text = decoded(file, settings.encoding)
    declared = _DELIMITER_LINE.match(text)  # spreadsheets can write this line above the header
    skipped = {*settings.skip_rows, *([1] if declared else [])}
    delimiter = settings.delimiter or (declared[1] if declared else _delimiter(file, text, skipped))
    numbered = enumerate(_cells(file, text, delimiter), 1)
    lines = [
        (number, cells)
        for number, cells in numbered
        if number not in skipped and any(cell.strip() for cell in cells)
    ]
    header = list(settings.header or (lines.pop(0)[1] if lines else []))
    columns = column_names(file, header)
    table = Table(columns=columns)
    for number, cells in lines:
        row = Row(file=file, number=number, values=dict(zip(columns, cells, strict=False)))
        if len(cells) != len(columns):
            fix = (
                "quote a cell that contains the delimiter, or set importer.delimiter=…; importer.skip_rows=[…] leaves "
                "out rows such as titles above the header"
            )
            problem = f"{counted(len(cells), 'cell')} where the header has {len(columns)}"
            table.problems.append(row.problem(None, problem, fix))
        table.rows.append(row)
    if not table.rows:
        raise BadSourceError.of_file(file, "no rows below the header", "give a table with rows")
    return table


def column_names(file: Path, header: Sequence[str]) -> list[str]:
    """The names of the columns; a column without a name is named by its number.

    Raises:
        BadSourceError: two columns have the same name.
    """
    names = [str(name).strip() or f"column {number}" for number, name in enumerate(header, 1)]
    fix = "give every column its own name"
    problems = [
        in_file(file, f"{names.count(name)} columns of this name", fix, name)
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    raise_all(problems)
    return names


def decoded(file: Path, encoding: str | None) -> str:
    """The text of a file; without an encoding, UTF-8, or UTF-16 if the file has a byte order mark.

    Raises:
        BadSourceError: the file cannot be read or decoded.
    """
    try:
        raw = read_regular(file)
    except UnsuitableFileError as error:
        raise BadSourceError.of_file(file, error.reason, error.fix) from None
    except (OSError, ValueError) as error:
        problem = f"the file cannot be opened ({error})"
        raise BadSourceError.of_file(file, problem, "check importer.file=…") from None
    if encoding is None:
        is_utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "utf-16" if is_utf16 else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except LookupError:
        fix = "name one of Python's encodings, such as cp1252, latin-1 or gb18030"
        raise BadSourceError.of_file(file, f"no encoding {encoding!r}", fix) from None
    except UnicodeDecodeError as error:
        row = raw[: error.start].count(b"\n") + 1
        problem = f"line {row} holds the byte 0x{raw[error.start]:02x}, which is not {encoding}"
        fix = "save the table as UTF-8, or name its encoding: importer.encoding=cp1252"
        raise BadSourceError.of_file(file, problem, fix) from None


def _delimiter(file: Path, text: str, skipped: Container[int]) -> str:
    """The only delimiter with which all rows, except for the skipped ones, have as many cells as the header.

    If there is none, the delimiter with which the header has most columns; uneven rows are then reported one by one.
    """
    widths = {}
    for delimiter in DELIMITERS:
        try:
            widths[delimiter] = [
                len(cells)
                for number, cells in enumerate(_cells(file, text, delimiter), 1)
                if any(cells) and number not in skipped
            ]
        except BadSourceError:
            continue
    even = [
        sign for sign, width in widths.items() if width and width[0] > 1 and len(set(width)) == 1
    ]
    if len(even) > 1:
        names = " and ".join(_NAMES[sign] for sign in even)
        fix = f'set importer.delimiter="{even[0]}" (or the other)'
        raise BadSourceError.of_file(file, f"{names} both divide every row evenly", fix)
    if even:
        return even[0]
    widest = max(widths, key=lambda sign: widths[sign][:1], default=",")
    header = text.partition("\n")[0]
    # If the header contains a delimiter with which the table cannot be read, its error is the better message.
    broken = [sign for sign in DELIMITERS if sign not in widths and sign in header]
    return broken[0] if broken and widths.get(widest, [0])[:1] <= [1] else widest


def _cells(file: Path, text: str, delimiter: str) -> list[list[str]]:
    csv.field_size_limit(_MAX_FIELD)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return list(reader)
    except TypeError:  # a delimiter of several characters
        fix = "give one character"
        raise BadSourceError.of_file(file, f"the delimiter {delimiter!r:.60}", fix) from None
    except csv.Error as error:
        fix = "close every quotation mark, and double those inside a quoted cell"
        raise BadSourceError.of_file(file, f"not a table: {error}", fix) from None
