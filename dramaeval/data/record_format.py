"""The keys that a task reads from a record, and the checks of a record's texts and ratings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dramaeval.config.problems import near_matches
from dramaeval.data.annotation_fields import ANNOTATIONS, flat_values
from dramaeval.data.jsonl import json_type
from dramaeval.data.mean_values import MEAN_FORM, is_mean_form, read_mean
from dramaeval.data.problems import Finding, counted, cut, printable
from dramaeval.data.raters import (
    POSITIONAL,
    RATERS,
    UNKNOWN_RATERS,
    RaterInfo,
    is_missing,
    is_quoted_number,
    raters_of_names,
    raters_of_record,
)

OPTIONAL_TEXTS = ("system",)
"""Optional texts in records of any task; without a check, a value of another type would be ignored."""

RATING_LIST = (
    "one value per rater; position k is always the same rater; null where a rater gave none"
)
"""The form of every list of ratings, for error messages."""

QUOTED = 'in quotes, read as numbers ("4" as 4)'
WHOLE = "with a decimal point, read as whole numbers (4.0 as 4)"

Ratings = dict[str, tuple[float | None, ...]]


@dataclass(frozen=True, kw_only=True)
class AnnotationField:
    """A field of ratings: one value per rater, position k always the same rater, or the mean of all ratings.

    Ratings are whole numbers from `low` to `high`, or any numbers if `whole` is false. A pass/fail field has the scale
    0-1 and may contain booleans. Only `required` fields must be in every record. A mean rating and its standard
    deviation must be possible on the `points` of the scale, by default all its whole numbers. If the points have
    `labels`, a rating may be a label.
    """

    name: str
    low: float
    high: float
    required: bool = True
    whole: bool = True
    points: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def is_pass_fail(self) -> bool:
        """Whether booleans are allowed as ratings."""
        return self.whole and (self.low, self.high) == (0, 1)


@dataclass(frozen=True, kw_only=True)
class ChoiceField:
    """A multiple-choice question: the keys of its list of options and of the index of the right option."""

    options: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class RecordFormat:
    """The keys that a task reads from each record; all other keys are ignored.

    Attributes:
        text_fields: keys of required texts.
        annotation_fields: the fields of ratings.
        annotated: if false (records to be scored), ratings may be missing, but existing ones are checked.
        audio_field: key of the clip's path.
        reads_audio: if false (judges that take only text), clips are not located and need not exist.
        choice: the keys of a multiple-choice question; such records may have integer ids.
        optional_texts: keys of texts that may be missing; keys of nested texts are dotted.
        raters_known: if false, positions in the lists of ratings do not identify raters.
        second_audio_field: key of the second clip of a pair; None for records with one clip.
        reference_field: key of the reference recording; None if no dimension uses one.
        turns: which part of the turns before the clip is in prompts (`dramaeval.data.turns.MODES`).
    """

    text_fields: tuple[str, ...]
    annotation_fields: tuple[AnnotationField, ...] = ()
    annotated: bool = True
    audio_field: str = "wav_path"
    reads_audio: bool = True
    choice: ChoiceField | None = None
    optional_texts: tuple[str, ...] = OPTIONAL_TEXTS
    raters_known: bool = True
    second_audio_field: str | None = None
    reference_field: str | None = None
    turns: str = "none"

    @property
    def audio_fields(self) -> tuple[str, ...]:
        """The keys of the record's clips and of its reference."""
        others = (self.second_audio_field, self.reference_field)
        return (self.audio_field, *(key for key in others if key is not None))

    @property
    def known_keys(self) -> tuple[str, ...]:
        """The keys that are not reported as misspellings: of texts, of clips, and for pairs such as ``question_a``."""
        sides = ("_a", "_b") if self.second_audio_field else ()
        of_one_clip = (f"{key}{side}" for key in self.text_fields for side in sides)
        return (*self.text_fields, *self.audio_fields, *of_one_clip)


@dataclass
class RecordCheck:
    """Result of checking one record: ratings and raters of each field, problems, notices, and the lists' lengths.

    `converted` counts ratings that were not plain numbers, by their form (`QUOTED`, `WHOLE`).
    """

    ratings: Ratings = field(default_factory=dict)
    raters: dict[str, RaterInfo] = field(default_factory=dict)
    converted: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    lengths: dict[str, int] = field(default_factory=dict)

    def report(self, key: str, problem: str, fix: str) -> None:
        """Add a problem."""
        self.findings.append(Finding(key, problem, fix))


def check_text(fields: Mapping[str, Any], key: str, known: Container[str] = ()) -> Finding | None:
    """The problem of the text `fields[key]`, or None; keys in `known` are not suggested as misspellings of `key`."""
    if key not in fields:
        near = near_match(key, [name for name in fields if name not in known])
        hint = f'; rename "{printable(near)}"?' if near else ""
        return Finding(key, "missing", f'give every record a "{key}"{hint}')
    value = fields[key]
    if not isinstance(value, str):
        return Finding(key, f"{json_type(value)} where a string is expected", "write it in quotes")
    if not value.strip():
        return Finding(key, "empty text", f'fill in "{key}", or leave the record out')
    return None  # `jsonl.read_lines` reports invalid Unicode under any key


def check_optional_text(fields: Mapping[str, Any], key: str) -> Finding | None:
    """The problem of an optional text, or None; the key of a nested text is dotted."""
    value: Any = fields
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None or isinstance(value, str):
        return None
    return Finding(key, f"{json_type(value)} where a string is expected", "write it in quotes")


def check_choice(fields: Mapping[str, Any], fmt: RecordFormat) -> RecordCheck:
    """Check the options and the answer of a multiple-choice record; the answer becomes its only rating."""
    check, choice = RecordCheck(), fmt.choice
    if choice is None:
        return check
    options, answer = fields.get(choice.options), fields.get(choice.answer)
    fix = 'write a list of two or more different texts: ["woman", "man"]'
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        check.report(choice.options, "missing" if options is None else "not a list of texts", fix)
        return check
    plain = [" ".join(option.split()).casefold() for option in options]
    if len(options) < 2:
        check.report(choice.options, "fewer than two options", fix)
    if not all(plain):
        check.report(choice.options, "an empty option", fix)
    repeated = sorted({printable(text) for text in plain if text and plain.count(text) > 1})
    if repeated:
        check.report(choice.options, f"the same option twice: {', '.join(repeated)}", fix)
    if check.findings or (is_missing(answer) and not fmt.annotated):
        return check
    last = len(options) - 1
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer <= last:
        not_one = f"{_short(answer)} is not the number of an option"
        problem = "missing" if answer is None else not_one
        fix = f"give the right option's number, from 0 for the first to {last} for the last"
        check.report(choice.answer, problem, fix)
    else:
        check.ratings[choice.answer] = (float(answer),)
    return check


def check_annotations(fields: Mapping[str, Any], fmt: RecordFormat) -> RecordCheck:
    """Check and read the ratings of all annotation fields; null and "N/A" become None."""
    check = RecordCheck()
    nested = fields.get(ANNOTATIONS)
    if nested is not None and not isinstance(nested, dict):
        problem = f"{json_type(nested)} where an object is expected"
        check.report(ANNOTATIONS, problem, f'write {{"field": [ratings], …}}: {RATING_LIST}')
        return check
    listed = _listed_raters(nested or {}, fields, fmt, check)
    for annotation in fmt.annotation_fields:
        _check_field(annotation, nested or {}, fields, fmt, check, listed)
    check.findings.extend(_uneven(check.lengths))
    rated = any(value is not None for values in check.ratings.values() for value in values)
    if fmt.annotated and fmt.annotation_fields and not rated and not check.findings:
        fix = "give at least one rating, or leave the record out"
        check.report(ANNOTATIONS, "no rating at all", fix)
    return check


def _check_field(
    annotation: AnnotationField,
    nested: Mapping[str, Any],
    fields: Mapping[str, Any],
    fmt: RecordFormat,
    check: RecordCheck,
    listed: RaterInfo,
) -> None:
    """Find one annotation field, under `annotations` or at the top level, and read its ratings."""
    name, required = annotation.name, annotation.required and fmt.annotated
    candidates = [source[name] for source in (nested, fields) if name in source]
    flat = flat_values(fields, name)
    if not candidates and not flat:
        _report_absent(annotation, nested, fields, fmt, check)
        return
    if not candidates:
        info = listed if listed.unknown else RaterInfo(ids=tuple(flat))
        _check_values(annotation, list(flat.values()), info, check)
        return
    if flat and candidates[0] != list(flat.values()):
        problem = f'differs between the list "{name}" and the flat keys ({", ".join(flat)})'
        check.report(name, problem, "keep one of the two")
        return
    values = candidates[0]
    if len(candidates) == 2 and values != candidates[1]:
        problem = f'differs between "{ANNOTATIONS}" and the top level of the record'
        check.report(name, problem, "keep one of the two")
    elif is_mean_form(values):
        _check_mean(annotation, values, check)
    elif isinstance(values, dict):
        named = raters_of_names(values)
        if blank := [rater for rater in values if not rater.strip()]:
            check.report(name, f"{counted(len(blank), 'rater')} without a name", "name the raters")
        elif isinstance(named, str):
            check.report(name, named, "give each rater one value")
        info = UNKNOWN_RATERS if isinstance(named, str) else named
        _check_values(annotation, list(values.values()), info, check)
    elif isinstance(values, list):
        if not listed.unknown:
            check.lengths[name] = len(values)
        _check_values(annotation, values, listed, check)
    elif values is not None or required:
        problem = f"{json_type(values)} where a list is expected"
        check.report(name, problem, f"write a list: {RATING_LIST}; or a mean rating: {MEAN_FORM}")


def _listed_raters(
    nested: Mapping[str, Any], fields: Mapping[str, Any], fmt: RecordFormat, check: RecordCheck
) -> RaterInfo:
    """The raters of the record's lists, from its key "raters" or from the format."""
    value = nested.get(RATERS, fields.get(RATERS))
    named = {annotation.name for annotation in fmt.annotation_fields}
    default = POSITIONAL if fmt.raters_known else UNKNOWN_RATERS
    if value is None or RATERS in named or not fmt.annotation_fields:
        return default
    info = raters_of_record(value)
    if isinstance(info, str):
        fix = f'write {RATERS}: ["name", …] in the order of the ratings, or "unknown"'
        check.report(RATERS, info, fix)
        return default
    if info.ids is not None:
        check.lengths[RATERS] = len(info.ids)
    return info


def _check_values(
    annotation: AnnotationField, values: Sequence[Any], info: RaterInfo, check: RecordCheck
) -> None:
    numbers = [_plain(annotation, value, check.converted) for value in values]
    findings = _rating_findings(annotation, numbers, info.ids)
    check.findings.extend(findings)
    if not findings:
        check.ratings[annotation.name] = tuple(
            None if is_missing(value) else float(value) for value in numbers
        )
        check.raters[annotation.name] = info


def _plain(annotation: AnnotationField, value: Any, converted: Counter[str]) -> Any:
    """The number for a label or a rating in quotes, other values unchanged; counts the ratings in other forms."""
    if value in annotation.labels:
        return annotation.points[annotation.labels.index(value)]
    if is_quoted_number(value):
        converted[QUOTED] += 1
        return float(value) if "." in value else int(value)
    if annotation.whole and isinstance(value, float) and value.is_integer():
        converted[WHOLE] += 1
    return value


def _check_mean(annotation: AnnotationField, value: Any, check: RecordCheck) -> None:
    points = annotation.points or tuple(range(int(annotation.low), int(annotation.high) + 1))
    reading = read_mean(annotation.name, value, points, between=not annotation.whole)
    check.findings.extend(reading.findings)
    if reading.quoted:
        check.converted[QUOTED] += reading.quoted
    if not reading.findings:
        check.ratings[annotation.name] = (reading.mean,)
        check.raters[annotation.name] = reading.info


def _report_absent(
    annotation: AnnotationField,
    nested: Mapping[str, Any],
    fields: Mapping[str, Any],
    fmt: RecordFormat,
    check: RecordCheck,
) -> None:
    """Report an absent field: as a problem if it is required, else as a notice if a similar key exists."""
    known = {field.name for field in fmt.annotation_fields} | {*fmt.text_fields, *fmt.audio_fields}
    others = [name for name in (*nested, *fields) if name not in known]
    name, near = annotation.name, near_match(annotation.name, others)
    rename = f'rename "{printable(near)}" to "{name}"' if near else ""
    if annotation.required and fmt.annotated:
        fix = rename or f'give a list "{name}" (null for each rater without a rating)'
        check.report(name, "missing annotation field", fix)
    elif near:
        check.notices.append(f'no "{name}", but "{printable(near)}": {rename}?')


def _rating_findings(
    annotation: AnnotationField, values: Sequence[Any], ids: Sequence[str] | None = None
) -> list[Finding]:
    """One finding for each kind of invalid value in the list, with the raters' names or positions."""
    wrong: dict[tuple[str, str], list[str]] = {}
    for rater, value in enumerate(values, 1):
        if reason := _why_not_a_rating(annotation, value):
            who = printable(ids[rater - 1]) if ids and rater <= len(ids) else rater
            wrong.setdefault(reason, []).append(f"{_short(value)} (rater {who})")
    findings = []
    for (kind, fix), items in wrong.items():
        more = " …" if len(items) > 6 else ""
        findings.append(Finding(annotation.name, f"{kind}: {', '.join(items[:6])}{more}", fix))
    return findings


def _why_not_a_rating(annotation: AnnotationField, value: Any) -> tuple[str, str] | None:
    """(problem, fix) of a value that is not a rating on the field's scale; None for ratings and missing ones."""
    scale = f"{annotation.low:g} to {annotation.high:g}"
    booleans = "true, false" if annotation.is_pass_fail else ""
    numbers = "whole numbers" if annotation.whole else "numbers"
    valid = f"use {booleans or f'{numbers} from {scale}'}, or null where it is missing"
    if is_missing(value):
        return None
    if isinstance(value, bool):
        return None if annotation.is_pass_fail else ("a boolean where a number is expected", valid)
    if isinstance(value, str) and annotation.labels:
        return "not a label of the scale", f"use {' | '.join(annotation.labels)}, or {scale}"
    if isinstance(value, str):
        return "a string where a number is expected", f"write ratings without quotes; {valid}"
    if not isinstance(value, (int, float)):
        return f"{json_type(value)} where a number is expected", valid
    if not annotation.low <= value <= annotation.high:
        return f"off the scale {scale}", valid
    if annotation.whole and value != int(value):
        return "not a whole number", valid
    return None


def near_match(name: str, others: Iterable[str]) -> str | None:
    """The most similar one of the other names, or None if no name is similar."""
    return next(iter(near_matches(name, others, cutoff=0.75)), None)


def _short(value: Any) -> str:
    return cut(printable(repr(value)), 24)


def _uneven(lengths: Mapping[str, int]) -> list[Finding]:
    """Problems of lists that have another length than most of the record's lists."""
    counts = Counter(lengths.values())
    if len(counts) <= 1:
        return []
    usual = max(counts, key=lambda length: (counts[length], length))
    return [
        Finding(
            name,
            f"{counted(length, 'rating')} where the other fields have {usual}",
            f"write in every list {RATING_LIST}",
        )
        for name, length in lengths.items()
        if length != usual
    ]
