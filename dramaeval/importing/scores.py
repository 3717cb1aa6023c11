"""Reads the cells of a table as scores, and finds the scale of the scores."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.raters import is_quoted_number

Score = int | float | bool

_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+")
_MONTH = r"(?:jan|feb|m[aä]r|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-zä]*\.?"
#: Forms of dates with which spreadsheets replace numbers.
_DATE = re.compile(
    rf"\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{1,4}}|\d{{1,2}}/\d{{1,2}}|\d{{1,2}}\.\d{{1,2}}\."
    rf"|\d{{1,2}}\.?[ -]{_MONTH}([ -]\d+)?|{_MONTH}[ -]\d{{1,4}}|0\d\.\d\d",
    re.IGNORECASE,
)
_DATE_FIX = "format the column as a number or text, and enter it again"
_RANGE = re.compile(r"\s*([+-]?[\d.]+)\s*\.\.\s*([+-]?[\d.]+?)\s*(?:/\s*([\d.]+)\s*)?")
_BOOLEANS = {"true": True, "false": False}
#: The largest number of points of a scale. The draft of a rubric with more than `dramaeval.tasks.scale.MOST_POINTS`
#: needs ``bins`` before a judge can be trained, see `dramaeval.importing.draft_rubric.cannot_train`.
MAX_POINTS = 1001


class ScoreError(ValueError):
    """A cell is not a score; `problem` is the reason, `fix` the advice for the user."""

    def __init__(self, problem: str, fix: str) -> None:
        self.problem, self.fix = problem, fix
        super().__init__(problem, fix)


class ScoreReader:
    """Reads cells as scores according to the importer's settings; an ambiguous cell is an error."""

    def __init__(self, settings: ImporterConfig) -> None:
        self.decimal = settings.decimal
        self.missing = {"", *(str(text).strip().casefold() for text in settings.missing)}
        self.missing_numbers = {float(text) for text in self.missing if is_quoted_number(text)}
        self.labels = {
            " ".join(str(label).split()).casefold(): value
            for label, value in settings.labels.items()
        }

    def is_missing(self, cell: Any) -> bool:
        """Whether a cell stands for a missing rating, as NaN does in a typed table.

        A number in ``importer.missing`` stands for equal numbers in any form: -1 for -1.0 and for a typed cell.
        """
        if isinstance(cell, str):
            text = cell.strip().casefold()
            is_code = is_quoted_number(text) and float(text) in self.missing_numbers
            return is_code or text in self.missing
        if isinstance(cell, int | float) and not isinstance(cell, bool):
            return cell in self.missing_numbers or cell != cell
        return cell is None

    def read(self, cell: Any) -> Score | None:
        """The score in a cell; None for a missing rating. Whole floats become whole numbers.

        Raises:
            ScoreError: the cell is not a number, or can be read as two numbers.
        """
        if self.is_missing(cell):
            return None
        if isinstance(cell, bool | int | float) and str(_whole(cell)).casefold() in self.labels:
            return self.labels[str(_whole(cell)).casefold()]
        if isinstance(cell, bool):
            return cell
        if isinstance(cell, int | float):
            # Through a text, a whole number beyond the range of floats is infinite in place of an OverflowError.
            return _number(float(str(cell)))
        if isinstance(cell, datetime.date | datetime.time):
            problem = f"{cell.isoformat()} is a date: a spreadsheet may have changed 1.5 into 1 May"
            raise ScoreError(problem, _DATE_FIX)
        if not isinstance(cell, str):
            raise ScoreError(f"{cell!r} is not a number", "write one number in each cell")
        return self._read_text(cell)

    def _read_text(self, cell: str) -> Score:
        text = " ".join(cell.split())
        if text.casefold() in self.labels:
            return self.labels[text.casefold()]
        if text.casefold() in _BOOLEANS:
            return _BOOLEANS[text.casefold()]
        if _COMMA.fullmatch(text):
            return self._read_comma(text)
        if _DATE.fullmatch(text):
            problem = f"{cell!r} can be a date: a spreadsheet may have changed 1.5 into 1 May"
            raise ScoreError(problem, _DATE_FIX)
        if is_quoted_number(text):
            if self.decimal == "comma" and "." in text:
                fix = "write 1,5 in every cell, or set importer.decimal=point"
                raise ScoreError(f"{cell!r} has a point, but importer.decimal=comma", fix)
            return _number(float(text))
        if _POINT.fullmatch(text):
            fix = f"write {_number(float(text))}, without a plus sign, leading zeros or an exponent"
            raise ScoreError(f"{cell!r} is written in another form than numbers of ratings", fix)
        fix = (
            "write a number, give the score of the label (importer.labels.LABEL=SCORE), or add the text to "
            "importer.missing"
        )
        raise ScoreError(f"{cell!r} is not a number", fix)

    def _read_comma(self, text: str) -> Score:
        reading = text.replace(",", ".")
        if self.decimal == "comma" and is_quoted_number(reading):
            return _number(float(reading))
        if self.decimal == "comma":
            fix = "write 1,5, without a plus sign or leading zeros"
            raise ScoreError(f"{text!r} is written in another form than numbers of ratings", fix)
        if self.decimal == "point":
            problem = f"{text!r} has a comma, but importer.decimal=point"
            raise ScoreError(problem, f"write {reading}")
        fix = "set importer.decimal=comma if the comma is the decimal sign, or write 1.5 for 1,5"
        raise ScoreError(f"{text!r} can be {reading} or two numbers", fix)


def _whole(cell: Score) -> Score:
    """A whole float as a whole number, as it is written in a label."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def looks_numeric(cell: Any) -> bool:
    """Whether a cell looks like a number, with a decimal point or comma.

    Numbers with leading zeros are codes, and truth values are marks of clips more often than ratings.
    """
    if not isinstance(cell, str):
        return isinstance(cell, int | float) and not isinstance(cell, bool)
    text = cell.strip()
    if re.fullmatch(r"0\d+", text):
        return False
    return bool(_POINT.fullmatch(text) or _COMMA.fullmatch(text))


def _number(value: float) -> Score:
    if not math.isfinite(value):
        fix = "write a number, or leave the cell empty"
        raise ScoreError(f"{value} is not a finite number", fix)
    return int(value) if value == int(value) else value


def read_scale(scale: Any) -> list[int | float]:
    """The points of a scale: a list of ascending numbers, ``LOW..HIGH`` or ``LOW..HIGH/STEP``.

    Raises:
        ValueError: the scale has another form.
    """
    if isinstance(scale, str):
        match = _RANGE.fullmatch(scale)
        if not match:
            raise ValueError(
                f"{scale!r} must be LOW..HIGH or LOW..HIGH/STEP, such as 1..5 or 0..10/0.5"
            )
        low, high, step = (Fraction(text or "1") for text in match.groups())
        count = (high - low) / step + 1 if step > 0 else Fraction(0)
        if count.denominator != 1 or not 2 <= count <= MAX_POINTS:
            raise ValueError(
                f"{scale!r} must have from 2 to {MAX_POINTS:,} points, the last one at its end"
            )
        return [_plain(low + step * number) for number in range(int(count))]
    points = list(scale) if isinstance(scale, Sequence) else []
    numbers = all(isinstance(p, int | float) and not isinstance(p, bool) for p in points)
    if len(points) < 2 or not numbers or points != sorted(set(points)):
        raise ValueError(f"{scale!r} must list two or more numbers in ascending order")
    return points


def scale_of(scores: Iterable[Score]) -> list[int | float]:
    """The scale that ratings suggest: their range in whole or half points; 0 and 1 for booleans.

    If ratings lie between half points, the scale has whole points and includes the lowest and the highest rating.
    """
    values = set(scores)
    if values and all(isinstance(value, bool) for value in values):
        return [0, 1]
    low, high = min(values, default=0), max(values, default=1)
    halves = all(value * 2 == int(value * 2) for value in values)
    whole = all(value == int(value) for value in values)
    if whole or not halves or high - low > MAX_POINTS / 2:
        low, high = math.floor(low), math.ceil(high)
        if high == low:
            high += 1
        if high - low >= MAX_POINTS:
            return [low, high]
        return list(range(low, high + 1))
    count = int((high - low) * 2) + 1
    return [_plain(Fraction(low) + Fraction(number, 2)) for number in range(max(count, 2))]


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)
