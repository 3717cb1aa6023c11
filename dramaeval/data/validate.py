"""Checks of one record's keys against the format a task expects: texts and ratings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dramaeval.config.problems import near_matches
from dramaeval.data.jsonl import json_type
from dramaeval.data.problems import Finding, counted, printable
from dramaeval.data.record_format import AnnotationField, RecordFormat

MISSING_WORDS = frozenset({"", "NA", "N/A"})
"""Strings which stand for a missing rating, compared without case and surrounding space."""

ANNOTATIONS = "annotations"
"""Key of the object that holds the annotation fields; they may stand at the top level instead."""

Ratings = dict[str, tuple[float | None, ...]]


class Checked(NamedTuple):
    """What the check of one record gave: its ratings, what is wrong, what is merely odd, and the
    length of each list of ratings.
    """

    ratings: Ratings
    findings: list[Finding]
    notices: list[str]
    lengths: dict[str, int]


def check_text(fields: Mapping[str, Any], key: str) -> Finding | None:
    """Tell why `fields[key]` is not a text that can be used, or None."""
    if key not in fields:
        near = _near_match(key, fields)
        hint = f'; rename "{printable(near)}"?' if near else ""
        return Finding(key, "missing", f'give every record a "{key}"{hint}')
    value = fields[key]
    if not isinstance(value, str):
        return Finding(key, f"{json_type(value)} where a string is expected", "write it in quotes")
    if not value.strip():
        return Finding(key, "empty text", f'fill in "{key}", or leave the record out')
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return Finding(key, "holds half of a surrogate pair", "mend the \\ud… escape in this text")
    return None


def check_choice(fields: Mapping[str, Any], fmt: RecordFormat) -> Checked:
    """Read a multiple-choice question's options and its answer, which counts as the one rating."""
    checked = Checked({}, [], [], {})
    if fmt.choice is None:
        return checked
    options, answer = fields.get(fmt.choice.options), fields.get(fmt.choice.answer)
    fix = 'write a list of two or more different texts: ["woman", "man"]'
    texts = isinstance(options, list) and all(isinstance(one, str) for one in options)
    if not texts or not isinstance(options, list):
        problem = "missing" if options is None else "not a list of texts"
        checked.findings.append(Finding(fmt.choice.options, problem, fix))
        return checked
    plain = [" ".join(one.split()).casefold() for one in options]
    if len(options) < 2:
        checked.findings.append(Finding(fmt.choice.options, "fewer than two options", fix))
    if not all(plain):
        checked.findings.append(Finding(fmt.choice.options, "an empty option", fix))
    twice = sorted({printable(one) for one in plain if plain.count(one) > 1 and one})
    if twice:
        checked.findings.append(
            Finding(fmt.choice.options, f"the same option twice: {', '.join(twice)}", fix)
        )
    if checked.findings:
        return checked
    last = len(options) - 1
    if _is_missing(answer) and not fmt.annotated:
        return checked
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer <= last:
        problem = (
            f"{_short(answer)} is not the number of an option" if answer is not None else "missing"
        )
        fix = f"give the right option's number, from 0 for the first to {last} for the last"
        checked.findings.append(Finding(fmt.choice.answer, problem, fix))
    else:
        checked.ratings[fmt.choice.answer] = (float(answer),)
    return checked


def check_annotations(fields: Mapping[str, Any], fmt: RecordFormat) -> Checked:
    """Read the ratings of all annotation fields; null and "N/A" become None, nothing is guessed."""
    checked = Checked({}, [], [], {})
    nested = fields.get(ANNOTATIONS)
    if nested is not None and not isinstance(nested, dict):
        problem = f"{json_type(nested)} where an object is expected"
        fix = 'write {"field": [one rating a rater], …}'
        checked.findings.append(Finding(ANNOTATIONS, problem, fix))
        return checked
    for field in fmt.annotation_fields:
        _read_field(field, nested or {}, fields, fmt, checked)
    checked.findings.extend(_uneven(checked.lengths))
    given = any(value is not None for values in checked.ratings.values() for value in values)
    if fmt.annotated and fmt.annotation_fields and not given and not checked.findings:
        fix = "give at least one rating, or leave the record out"
        checked.findings.append(Finding(ANNOTATIONS, "no rating at all", fix))
    return checked


def _read_field(
    field: AnnotationField,
    nested: Mapping[str, Any],
    fields: Mapping[str, Any],
    fmt: RecordFormat,
    checked: Checked,
) -> None:
    """Find one annotation field, under `annotations` or at the top level, and read its list."""
    places = [place[field.name] for place in (nested, fields) if field.name in place]
    if not places:
        _report_absent(field, nested, fields, fmt, checked)
        return
    if len(places) == 2 and places[0] != places[1]:
        problem = f'differs between "{ANNOTATIONS}" and the top level of the record'
        checked.findings.append(Finding(field.name, problem, "keep one of the two"))
        return
    values = places[0]
    if values is None and not (field.required and fmt.annotated):
        return
    if not isinstance(values, list):
        problem = f"{json_type(values)} where a list is expected"
        checked.findings.append(Finding(field.name, problem, "write a list: one rating a rater"))
        return
    checked.lengths[field.name] = len(values)
    findings = _rating_findings(field, values)
    checked.findings.extend(findings)
    if not findings:
        checked.ratings[field.name] = tuple(_rating(value) for value in values)


def _report_absent(
    field: AnnotationField,
    nested: Mapping[str, Any],
    fields: Mapping[str, Any],
    fmt: RecordFormat,
    checked: Checked,
) -> None:
    """A field that is nowhere: a problem where it is required, odd where a near match is there."""
    known = {known.name for known in fmt.annotation_fields} | {*fmt.text_fields, fmt.audio_field}
    others = [name for name in (*nested, *fields) if name not in known]
    near = _near_match(field.name, others)
    rename = f'rename "{printable(near)}" to "{field.name}"' if near else ""
    if field.required and fmt.annotated:
        fix = rename or f'give a list "{field.name}" (null for each rater without a rating)'
        checked.findings.append(Finding(field.name, "missing annotation field", fix))
    elif near:
        checked.notices.append(f'no "{field.name}", but "{printable(near)}": {rename}?')


def _rating_findings(field: AnnotationField, values: Sequence[Any]) -> list[Finding]:
    """One finding for each sort of wrong value in the list, naming the raters' positions."""
    wrong: dict[tuple[str, str], list[str]] = {}
    for rater, value in enumerate(values, 1):
        reason = _why_not_a_rating(field, value)
        if reason:
            wrong.setdefault(reason, []).append(f"{_short(value)} (rater {rater})")
    return [
        Finding(field.name, f"{sort}: {', '.join(found[:6])}{' …' if len(found) > 6 else ''}", fix)
        for (sort, fix), found in wrong.items()
    ]


def _why_not_a_rating(field: AnnotationField, value: Any) -> tuple[str, str] | None:
    """(problem, fix) when the value is neither missing nor a rating on the field's scale."""
    scale = f"{field.low:g} to {field.high:g}"
    booleans = "true, false" if field.is_pass_fail else ""
    valid = f"use {booleans or f'whole numbers from {scale}'}, or null where it is missing"
    if _is_missing(value):
        return None
    if isinstance(value, bool):
        return None if field.is_pass_fail else ("a boolean where a number is expected", valid)
    if isinstance(value, str):
        return "a string where a number is expected", f"write ratings without quotes; {valid}"
    if not isinstance(value, (int, float)):
        return f"{json_type(value)} where a number is expected", valid
    if not field.low <= value <= field.high:
        return f"off the scale {scale}", valid
    if value != int(value):
        return "not a whole number", valid
    return None


def _near_match(name: str, others: Iterable[str]) -> str | None:
    """The name among others that resembles it most, if any does."""
    return next(iter(near_matches(name, others, cutoff=0.75)), None)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip().upper() in MISSING_WORDS)


def _rating(value: Any) -> float | None:
    return None if _is_missing(value) else float(value)


def _short(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= 24 else text[:23] + "…"


def _uneven(lengths: Mapping[str, int]) -> list[Finding]:
    """Lists of one record must be equally long: position n is rater n in all of them."""
    counts = Counter(lengths.values())
    if len(counts) <= 1:
        return []
    usual = max(counts, key=lambda length: (counts[length], length))
    fix = "give every list one value a rater, null where a rater gave none"
    return [
        Finding(name, f"{counted(length, 'rating')} where the other fields have {usual}", fix)
        for name, length in lengths.items()
        if length != usual
    ]
