"""Records: reads a JSONL file of annotated speech and reports all its problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dramaeval.config.home_folder import expand_home
from dramaeval.data.files import WORKERS
from dramaeval.data.jsonl import Line, UnreadableFileError, has_surrogate, read_lines
from dramaeval.data.pair_format import prompt_findings
from dramaeval.data.problems import BadRecordsError, Finding, Problem, counted, line_list
from dramaeval.data.raters import RaterInfo
from dramaeval.data.record_clips import Draft, check_clips, check_distinct, check_lengths
from dramaeval.data.record_format import (
    AnnotationField,
    RecordFormat,
    check_annotations,
    check_choice,
    check_optional_text,
    check_text,
)
from dramaeval.data.turns import AUDIO, NONE, TURNS, Turn, check_turns, turns_of
from dramaeval.data.unicode_paths import stored_path

__all__ = ["AnnotationField", "ReadResult", "Record", "RecordFormat", "read_records"]

SKIP_ADVICE = "task.data.on_bad=skip goes on without these records and counts them."


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of a JSONL file: a clip, its context and its raters' annotations.

    Attributes:
        id: the record's id, unique in the file.
        file: the JSONL file.
        line: line number in the file, from 1.
        clip: path of the audio file; not located if the judge takes no audio.
        seconds: length of the audio that the model receives, after trimming; 0 if it receives none.
        fields: the parsed line, including keys that no task reads.
        ratings: one value per rater for each annotation field of the task, None for a missing rating; for a mean
            rating, only the mean.
        raters: the raters of each field; in fields without an entry, position k is always the same rater.
        part: name of the task of the record if several tasks are trained together.
        listener: the only rater whose ratings these are (`dramaeval.tasks.listeners`); None for all raters.
        clip_b: path of the second clip of a pair, whose first clip is `clip`; None for a record with one clip.
        seconds_b: length of the second clip, as in `seconds`.
        reference: path of the reference recording with which the clip is compared; None if the task uses none.
        reference_seconds: length of the reference recording, as in `seconds`.
        turns: the turns of the conversation before the clip; empty if the task shows none.
    """

    id: str
    file: Path
    line: int
    clip: Path
    seconds: float
    fields: Mapping[str, Any]
    ratings: Mapping[str, tuple[float | None, ...]]
    raters: Mapping[str, RaterInfo] = field(default_factory=dict)
    part: str | None = None
    listener: str | None = None
    clip_b: Path | None = None
    seconds_b: float = 0.0
    reference: Path | None = None
    reference_seconds: float = 0.0
    turns: tuple[Turn, ...] = ()

    @property
    def clips(self) -> tuple[Path, ...]:
        """The clips that are judged: one, or the two of a pair."""
        return (self.clip,) if self.clip_b is None else (self.clip, self.clip_b)

    @property
    def prompt_clips(self) -> dict[Path, float]:
        """Path and length in seconds of all clips in the record's prompts: judged clips, reference and turns."""
        lengths = [(self.clip_b, self.seconds_b), (self.reference, self.reference_seconds)]
        lengths += [(turn.clip, turn.seconds) for turn in self.turns]
        return {self.clip: self.seconds} | {path: seconds for path, seconds in lengths if path}

    @property
    def total_seconds(self) -> float:
        """Length of all clips of the record."""
        return self.seconds + self.seconds_b

    def single_clips(self) -> tuple[Record, ...]:
        """This record, or for a pair a record of each clip."""
        if self.clip_b is None:
            return (self,)
        first = replace(self, clip_b=None, seconds_b=0.0)
        return (first, replace(first, clip=self.clip_b, seconds=self.seconds_b))

    def problem(self, key: str, problem: str, fix: str) -> Problem:
        """A problem of one of the record's keys, with the record's file, line and id."""
        return Problem(
            file=self.file, line=self.line, id=self.id, key=key, problem=problem, fix=fix
        )

    def given(self, annotation_field: str) -> tuple[float, ...]:
        """The ratings of a field, without missing ones."""
        values = self.ratings.get(annotation_field, ())
        return tuple(value for value in values if value is not None)

    def text(self, key: str) -> str | None:
        """A text of the record without surrounding white space; None if it is absent, empty or not a string."""
        value = self.fields.get(key)
        return (value.strip() or None) if isinstance(value, str) else None

    @property
    def character(self) -> str | None:
        """The character's name; for records without one, see `shared_content.group_of`."""
        return self.text("character")

    @property
    def system(self) -> str | None:
        """The system that produced the clip."""
        return self.text("system")


@dataclass(kw_only=True)
class ReadResult:
    """Valid records in file order, the problems of skipped records, and notices about unusual ones."""

    records: list[Record]
    skipped: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def read_records(
    file: str | Path,
    fmt: RecordFormat,
    *,
    audio_root: str | Path | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    max_seconds: float = 30.0,
    on_long: Literal["error", "trim", "segments"] = "error",
    workers: int = WORKERS,
    lines: Container[int] | None = None,
    texts: Mapping[str, str] | None = None,
) -> ReadResult:
    """Read and check a JSONL file: every line, its ratings, and the header of every clip.

    With `lines`, only the lines with these numbers are read. Records without a text under a key of `texts` get that
    text. `clip_paths.locate_clips` describes where clips are searched. A clip longer than `max_seconds` is an error;
    with `on_long="trim"`, only its first `max_seconds` are used, and a notice reports it.

    Raises:
        BadRecordsError: lists all problems of the file. With `on_bad="skip"`, invalid records are left out and
            returned in `skipped`; the error is then raised only if the file cannot be read, no valid record
            remains, or `audio_root` is not a folder.
    """
    file = expand_home(file)
    root = None if audio_root is None else stored_path(audio_root)
    drafts = [
        Draft(line, findings=list(line.findings))
        for line in checked_lines(file)
        if lines is None or line.number in lines
    ]
    notices = _add_texts(drafts, texts or {}) + _check_fields(drafts, fmt)
    root_problems = _check_root(file, root)
    for key in (*fmt.audio_fields, *([TURNS] if fmt.turns == AUDIO else [])):
        check_clips(drafts, fmt, key, file, None if root_problems else root, workers)
        if fmt.reads_audio:
            notices += check_lengths(drafts, key, max_seconds, on_long)
    if fmt.second_audio_field and fmt.reads_audio:
        check_distinct(drafts, fmt.audio_field, fmt.second_audio_field, workers)
    bad = root_problems + [
        problem
        for draft in drafts
        for problem in problems_of(draft.findings, file, draft.line.number, draft.id)
    ]
    good = [_record(draft, file, fmt) for draft in drafts if not draft.findings]
    if root_problems or (bad and on_bad != "skip"):
        raise BadRecordsError(bad, SKIP_ADVICE if good and not root_problems else "")
    if not good and lines is not None and not bad:
        return ReadResult(records=[])
    if not good:
        raise BadRecordsError(bad, "Not one good record is left.")
    return ReadResult(records=good, skipped=bad, notices=notices)


def checked_lines(file: Path) -> list[Line]:
    """The lines of a JSONL file.

    Raises:
        BadRecordsError: the file cannot be read as JSON Lines.
    """
    try:
        return read_lines(file)
    except UnreadableFileError as error:
        raise BadRecordsError(problems_of([error.finding], file)) from None


def problems_of(
    findings: Iterable[Finding], file: Path, line: int | None = None, record_id: str | None = None
) -> list[Problem]:
    """The findings as problems of a file, line and record."""
    return [
        Problem(file=file, line=line, id=record_id, **finding._asdict()) for finding in findings
    ]


def _check_root(file: Path, root: Path | None) -> list[Problem]:
    if root is None or root.is_dir():
        return []
    fix = "set task.data.audio_root to the folder that holds the clips"
    return problems_of([Finding("audio_root", f"{root} is not a folder", fix)], file)


def _add_texts(drafts: Sequence[Draft], texts: Mapping[str, str]) -> list[str]:
    """Add texts to the records without them; return notices about records with a different text."""
    notices = []
    for key, text in texts.items():
        lines = [
            draft.line.number
            for draft in drafts
            if draft.line.fields is not None and draft.line.fields.setdefault(key, text) != text
        ]
        if lines:
            notices.append(
                f'{counted(len(lines), "record")} with a "{key}" of their own keep it ({line_list(lines)})'
            )
    return notices


def _check_fields(drafts: Sequence[Draft], fmt: RecordFormat) -> list[str]:
    """Check ids, texts and ratings; return notices with their line numbers."""
    first_line: dict[str, int] = {}
    notices: dict[str, list[int]] = {}
    converted: Counter[str] = Counter()
    for draft in drafts:
        fields = draft.line.fields
        if fields is None:
            continue
        if fmt.choice and type(fields.get("id")) is int:
            fields["id"] = str(fields["id"])
        for key in ("id", *fmt.text_fields, *(fmt.audio_fields if fmt.reads_audio else ())):
            finding = check_text(fields, key, fmt.known_keys)
            if finding:
                draft.findings.append(finding)
            elif key == "id" and not has_surrogate(fields["id"]):
                draft.id = fields["id"]
        draft.findings += check_turns(fields, fmt.turns)
        optional = (check_optional_text(fields, key) for key in fmt.optional_texts)
        draft.findings += [finding for finding in optional if finding]
        if fmt.second_audio_field:
            draft.findings += prompt_findings(fields, (*fmt.text_fields, *fmt.optional_texts))
        if draft.id is not None:
            first = first_line.setdefault(draft.id, draft.line.number)
            if first != draft.line.number:
                fix = "give every record its own id"
                draft.findings.append(Finding("id", f"already used in line {first}", fix))
        check = check_annotations(fields, fmt) if fmt.choice is None else check_choice(fields, fmt)
        draft.ratings, draft.raters = check.ratings, check.raters
        draft.findings.extend(check.findings)
        for notice in check.notices:
            notices.setdefault(notice, []).append(draft.line.number)
        for form, count in check.converted.items():
            converted[form] += count
            notices.setdefault(form, []).append(draft.line.number)
    notices = {
        f"{counted(converted[text], 'rating')} {text}" if text in converted else text: lines
        for text, lines in notices.items()
    }
    return [f"{notice} ({line_list(lines)})" for notice, lines in notices.items()]


def _record(draft: Draft, file: Path, fmt: RecordFormat) -> Record:
    fields = draft.line.fields
    if fields is None or len(draft.clips) < len(fmt.audio_fields) or draft.id is None:
        raise RuntimeError(f"line {draft.line.number} has neither a problem nor a record")
    clip, seconds = draft.clips[fmt.audio_field]
    clip_b, seconds_b = draft.clips.get(fmt.second_audio_field or "", (None, 0.0))
    reference, reference_seconds = draft.clips.get(fmt.reference_field or "", (None, 0.0))
    return Record(
        id=draft.id,
        file=file,
        line=draft.line.number,
        clip=clip,
        seconds=seconds,
        fields=fields,
        ratings=draft.ratings,
        raters=draft.raters,
        clip_b=clip_b,
        seconds_b=seconds_b,
        reference=reference,
        reference_seconds=reference_seconds,
        turns=() if fmt.turns == NONE else turns_of(fields, draft.clips),
    )
