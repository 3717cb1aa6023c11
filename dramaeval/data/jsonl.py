"""Reads JSON Lines: every line becomes an object, or a line number with findings."""

from __future__ import annotations

import codecs
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dramaeval.data.file_kinds import HEAD, foreign_kind
from dramaeval.data.files import UnsuitableFileError, open_regular, read_regular
from dramaeval.data.problems import Finding, printable

#: Largest line; a line may contain the samples of a clip, which take a few bytes each.
_MAX_LINE_BYTES = 2**28
_ENCODING_FIX = "save the file as UTF-8"
FOLDER_FIX = "give the path of a JSONL file, for example of one in this folder"
_OBJECT_FIX = 'write one JSON object per line: {"id": …, …}'
_SYNTAX_FIX = "correct the JSON syntax of this line (python -m json.tool shows the error)"


SURROGATE = ("holds half of a surrogate pair", "mend the \\ud… escape in this text")
"""Problem and fix of a text that is not valid Unicode."""

#: An escape that may be half of a surrogate pair; a quick search, because most texts have no such escape.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class Line(NamedTuple):
    """One line of a JSONL file: its number (from 1), its object (None if it cannot be parsed), its problems."""

    number: int
    fields: dict[str, Any] | None
    findings: list[Finding]


class UnreadableFileError(Exception):
    """The file cannot be read as JSON Lines; `finding` says why."""

    def __init__(self, problem: str, fix: str) -> None:
        self.finding = Finding(None, problem, fix)
        super().__init__(problem, fix)


def read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file of the project; empty if it is missing or unreadable, for example while it is written."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def json_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1; for files that the project wrote (see `read_lines`).

    Only a line feed ends a line: `str.splitlines` also splits at U+2028, U+2029 and U+0085, which JSON text may contain.
    """
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            if raw.strip():
                yield number, raw


def read_lines(file: Path) -> list[Line]:
    """Parse every line that is not blank in a user's file; a BOM and CRLF line ends are accepted.

    Raises:
        UnreadableFileError: the file is missing, empty, too large, or not JSON Lines.
    """
    try:
        with io.BufferedReader(open_regular(file)) as stream:
            if reason := foreign_kind(file, stream.peek(HEAD)[:HEAD]):
                raise UnreadableFileError(*reason)
            shared: dict[str, str] = {}
            raw_lines = _raw_lines(stream)
            lines = [_parse_line(number, raw.rstrip(), shared) for number, raw in raw_lines]
    except UnsuitableFileError as error:
        fix = FOLDER_FIX if file.is_dir() else error.fix
        raise UnreadableFileError(f"this {error.reason}", fix) from None
    except FileNotFoundError:
        fix = "check the path; it is relative to the working directory"
        raise UnreadableFileError("no such file", fix) from None
    except (OSError, ValueError) as error:
        problem = f"the file cannot be opened ({error})"
        raise UnreadableFileError(problem, "check the path and its permissions") from None
    if not lines:
        fix = "give a JSONL file with one record per line"
        raise UnreadableFileError("the file holds no records", fix)
    if lines[0].fields is None and len(lines) > 1 and _is_one_document(file):
        raise UnreadableFileError(
            "the file is one JSON document spread over several lines, not JSON Lines",
            "write one record per line, e.g. with: jq -c '.[]' records.json > records.jsonl",
        )
    return lines


def _raw_lines(stream: io.BufferedReader[io.FileIO]) -> Iterator[tuple[int, bytes]]:
    """As `json_lines`, with a limit on the length of a line."""
    raw_lines = iter(lambda: stream.readline(_MAX_LINE_BYTES + 1), b"")
    for number, raw in enumerate(raw_lines, 1):
        if len(raw) > _MAX_LINE_BYTES:
            problem = f"line {number} is longer than {_MAX_LINE_BYTES:,} bytes"
            raise UnreadableFileError(problem, _OBJECT_FIX)
        if raw.removeprefix(codecs.BOM_UTF8).strip():
            yield number, raw


def _is_one_document(file: Path) -> bool:
    try:
        return isinstance(json.loads(read_regular(file, max_bytes=_MAX_LINE_BYTES)), (list, dict))
    except (OSError, ValueError, RecursionError):
        return False


def _parse_line(number: int, raw: bytes, shared: dict[str, str]) -> Line:
    """Parse one line; ``shared`` contains the texts of earlier lines, so that equal texts take memory only once."""
    try:
        # utf-8-sig: a BOM may begin the file, or a later line if files were concatenated.
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not UTF-8"
        return Line(number, None, [Finding(None, problem, _ENCODING_FIX)])
    repeated: list[str] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = {
            shared.setdefault(name, name): shared.setdefault(value, value)
            if isinstance(value, str)
            else value
            for name, value in pairs
        }
        if len(built) < len(pairs):
            names = [name for name, _ in pairs]
            repeated.extend(sorted({name for name in names if names.count(name) > 1}))
        return built

    try:
        value = json.loads(text, object_pairs_hook=build)
    except json.JSONDecodeError as error:
        problem = f"malformed JSON at column {error.pos + 1}: {error.msg}"
        return Line(number, None, [Finding(None, problem, _SYNTAX_FIX)])
    except (ValueError, RecursionError) as error:  # a number with thousands of digits; deep nesting
        return Line(number, None, [Finding(None, f"unreadable JSON: {error}", _SYNTAX_FIX)])
    if not isinstance(value, dict):
        problem = f"{json_type(value)}, not an object"
        return Line(number, None, [Finding(None, problem, _OBJECT_FIX)])
    findings = [Finding(name, "the key is given twice", "keep one of the two") for name in repeated]
    if "NaN" in text or "Infinity" in text:
        findings += [
            Finding(key, f"{number_text} is not valid JSON", "write null for a missing value")
            for key, number_text in _non_finite(value)
        ]
    if _SURROGATE_ESCAPE.search(text):
        findings += [Finding(key, *SURROGATE) for key in _keys_with_surrogates(value)]
    return Line(number, value, findings)


def _keys_with_surrogates(value: Any, key: str = "") -> Iterator[str]:
    """Dotted keys whose name or text is not valid Unicode, without repetition."""
    if isinstance(value, dict):
        for name, inner in value.items():
            inner_key = f"{key}.{name}" if key else name
            if has_surrogate(name):
                yield printable(inner_key)
            else:
                yield from _keys_with_surrogates(inner, inner_key)
    elif isinstance(value, list):
        yield from dict.fromkeys(
            inner_key for inner in value for inner_key in _keys_with_surrogates(inner, key)
        )
    elif isinstance(value, str) and has_surrogate(value):
        yield key


def has_surrogate(text: str) -> bool:
    """Whether a text contains half of a surrogate pair; such a text cannot be written to a file."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _non_finite(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys whose value is a NaN or Infinity literal, with "NaN" or "Infinity", without repetition."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _non_finite(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        yield from dict.fromkeys(entry for inner in value for entry in _non_finite(inner, key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, "NaN" if math.isnan(value) else "Infinity"


def json_type(value: Any) -> str:
    """The JSON type of a parsed value for error messages, such as "a number"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    names: dict[type, str] = {str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
