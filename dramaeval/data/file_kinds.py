"""Recognises files that are not JSON Lines by their first bytes, and tells how to convert them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from shlex import quote

#: Number of bytes at the start of a file that are needed to recognise it.
HEAD = 4096
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip --keep"),
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\xfd7zXZ\x00": ("xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd --keep"),
    b"PK\x03\x04": ("a zip archive (or a spreadsheet)", "unzip"),
}
_OTHER = {
    b"RIFF": "a WAV clip",
    b"fLaC": "a FLAC clip",
    b"OggS": "an Ogg clip",
    b"ID3": "an MP3 clip",
    b"SQLite format 3": "an SQLite data base",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"%PDF": "a PDF",
    b"<": "a page in HTML or XML",
}
_LINES = "the path of a JSONL file, with one record per line"
_IMPORT = "import it: python launch.py stages=[import] importer={} importer.file=FILE"


def foreign_kind(file: Path, head: bytes) -> tuple[str, str] | None:
    """(problem, fix) of a file that cannot be JSON Lines in UTF-8, from its first `HEAD` bytes; None if it can be."""
    name = quote(file.name)
    for magic, (kind, command) in _COMPRESSED.items():
        if head.startswith(magic):
            fix = f"unpack it ({command} {name}) and give the JSONL file"
            return f"the file is compressed: {kind}", fix
    if head.startswith(b"PAR1"):
        return "the file is Parquet, not JSON Lines", _IMPORT.format("parquet")
    if head.startswith(b"ARROW1"):
        fix = f"save it as Parquet and {_IMPORT.format('parquet')}"
        return "the file is Arrow (Feather), not JSON Lines", fix
    for magic, kind in _OTHER.items():
        if head.startswith(magic):
            return f"the file is {kind}, not JSON Lines", f"give {_LINES}"
    if encoding := _wide_encoding(head):
        fix = f"save the file as UTF-8, e.g. with: iconv -f {encoding} -t UTF-8 {name} > utf8.jsonl"
        return f"the file is {encoding}, not UTF-8", fix
    if separator := _separator(file, head):
        kind = "TSV" if separator == "\t" else "CSV"
        return f"the file is {kind}, not JSON Lines", _IMPORT.format("csv")
    if _is_binary(head):
        return "the file is no text, so not JSON Lines", f"give {_LINES}"
    return None


def _is_binary(head: bytes) -> bool:
    """Whether the first bytes of a file are no text."""
    first = head.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if not first or first in b"{[":
        return False  # a damaged line is reported with its number
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    return "\0" in text or text.startswith("\ufffd") or first < b" "


def _wide_encoding(head: bytes) -> str | None:
    """The encoding of a text in UTF-16 or UTF-32, with or without a byte order mark; None for other encodings."""
    marks = (
        (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"),
        (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
        # Without a mark: the first character of JSON is ASCII, so the other bytes of the character are 0.
        (b"\x00\x00\x00", "UTF-32BE"),
    )  # fmt: skip
    for mark, encoding in marks:
        if head.startswith(mark):
            return encoding
    if head[1:4] == b"\x00\x00\x00":
        return "UTF-32LE"
    first = head[:2].replace(b"\x00", b"")
    if len(head) < 2 or len(first) != 1 or not (first.isspace() or b"!" <= first <= b"~"):
        return None
    return "UTF-16LE" if head[1:2] == b"\x00" else "UTF-16BE"


def _separator(file: Path, head: bytes) -> str | None:
    """The separator of a text table such as CSV; None for other texts."""
    lines = head.decode("utf-8-sig", errors="replace").split("\n")
    names = lines[0].strip()
    if not names or names[0] in "{[" or _is_json(names):
        return None
    if file.suffix.lower() in (".csv", ".tsv"):
        return "\t" if "\t" in names else ";" if names.count(";") > names.count(",") else ","
    rest = [line for line in lines[1:3] if line.strip()]
    for separator in "\t,;":
        count = names.count(separator)
        rows = [row for row in rest if row[0] not in "{[" and row.count(separator) >= count]
        if count and rest and rows == rest:
            return separator
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
