"""Records: reading a JSONL file of annotated speech, or saying everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dramaeval.data.audio import ClipHeader, UnreadableClipError, read_header
from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.jsonl import Line, UnreadableFileError, read_lines
from dramaeval.data.parallel_io import ask_each
from dramaeval.data.problems import BadRecordsError, Finding, Problem, counted, line_list
from dramaeval.data.record_format import AnnotationField, RecordFormat
from dramaeval.data.validate import Ratings, check_annotations, check_choice, check_text

__all__ = ["AnnotationField", "ReadResult", "Record", "RecordFormat", "read_records"]

MIN_SECONDS = 0.04
"""The shortest clip that can be judged: the audio encoder makes one token of 0.04 s."""

_DROP_ADVICE = "task.data.on_bad=skip goes on without these records and counts them."


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of a JSONL file: a clip, its context, its raters' annotations.

    `fields` is the whole line as it stands, keys nobody reads included. `ratings` holds, for each
    annotation field of the task, one value a rater in the raters' order; None is missing.
    `seconds` is what the model gets to hear of the clip; 0 where it hears none, `clip` then being
    the path as it is written. `part` says which of several tasks it belongs to, where several are
    trained together.
    """

    id: str
    file: Path
    line: int
    clip: Path
    seconds: float
    fields: Mapping[str, Any]
    ratings: Mapping[str, tuple[float | None, ...]]
    part: str | None = None

    def given(self, annotation_field: str) -> tuple[float, ...]:
        """The ratings of a field that are not missing; empty where there is none."""
        values = self.ratings.get(annotation_field, ())
        return tuple(value for value in values if value is not None)

    def text(self, key: str) -> str | None:
        """A text of the record, stripped; None where it is absent, empty or no text."""
        value = self.fields.get(key)
        return (value.strip() or None) if isinstance(value, str) else None

    @property
    def character(self) -> str | None:
        """The character's name, where the record gives one (see also `groups.group_of`)."""
        return self.text("character")

    @property
    def scene(self) -> str | None:
        """The local scene, where the record gives one."""
        return self.text("local_scene")

    @property
    def system(self) -> str | None:
        """The system that made the clip, where the record names it."""
        return self.text("system")


@dataclass(kw_only=True)
class ReadResult:
    """The good records of a file in their order, what was skipped and why, and what was odd."""

    records: list[Record]
    skipped: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


@dataclass
class _Draft:
    """A line on its way to a record: gathers everything that is wrong with it."""

    line: Line
    id: str | None = None
    ratings: Ratings = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    clip: Path | None = None
    seconds: float = 0.0


def read_records(
    file: str | Path,
    fmt: RecordFormat,
    *,
    audio_root: str | Path | None = None,
    on_bad: Literal["stop", "skip"] = "stop",
    max_seconds: float = 30.0,
    on_long: Literal["error", "trim"] = "error",
    workers: int = 8,
) -> ReadResult:
    """Read and check a JSONL file: every line, its ratings, and the header of every clip.

    Clips are looked up as `locate.locate_clips` says; where `audio_root` is not given, the folder
    of the JSONL file takes its place for the search by file name. Clips longer than `max_seconds`
    are an error, or with `on_long="trim"` heard up to there, which a notice says.

    Raises BadRecordsError with all problems of the file at once. With `on_bad="skip"` bad records
    are left out and returned in `skipped`; it still raises where the file itself is no use: not
    readable, without any good record, or with an `audio_root` that is no folder.
    """
    file = Path(file).expanduser()
    root = None if audio_root is None else Path(audio_root).expanduser()
    drafts = [_Draft(line, findings=list(line.findings)) for line in _lines_of(file)]
    notices = _check_fields(drafts, fmt)
    root_problems = _check_root(file, root)
    _check_clips(drafts, fmt, file, None if root_problems else root, workers)
    if fmt.heard:
        notices += _check_lengths(drafts, fmt.audio_field, max_seconds, on_long)
    bad = root_problems + _problems(drafts, file)
    good = [_record(draft, file) for draft in drafts if not draft.findings]
    if root_problems or (bad and on_bad != "skip"):
        raise BadRecordsError(bad, _DROP_ADVICE if good and not root_problems else "")
    if not good:
        raise BadRecordsError(bad, "Not one good record is left.")
    return ReadResult(records=good, skipped=bad, notices=notices)


def _lines_of(file: Path) -> list[Line]:
    try:
        return read_lines(file)
    except UnreadableFileError as error:
        raise BadRecordsError([_problem(file, None, None, error.finding)]) from None


def _check_root(file: Path, root: Path | None) -> list[Problem]:
    if root is None or root.is_dir():
        return []
    fix = "set task.data.audio_root to the folder that holds the clips"
    return [_problem(file, None, None, Finding("audio_root", f"{root} is not a folder", fix))]


def _check_fields(drafts: Sequence[_Draft], fmt: RecordFormat) -> list[str]:
    """Check ids, texts and ratings; returns what is odd, each with its lines."""
    first_line: dict[str, int] = {}
    odd: dict[str, list[int]] = {}
    for draft in drafts:
        fields = draft.line.fields
        if fields is None:
            continue
        if fmt.choice and type(fields.get("id")) is int:
            fields["id"] = str(fields["id"])
        for key in ("id", *fmt.text_fields, *([fmt.audio_field] if fmt.heard else [])):
            finding = check_text(fields, key)
            if finding:
                draft.findings.append(finding)
            elif key == "id":
                draft.id = fields["id"]
        if draft.id is not None:
            first = first_line.setdefault(draft.id, draft.line.number)
            if first != draft.line.number:
                fix = "give every record its own id"
                draft.findings.append(Finding("id", f"already used in line {first}", fix))
        checked = check_choice(fields, fmt) if fmt.choice else check_annotations(fields, fmt)
        draft.ratings = checked.ratings
        draft.findings.extend(checked.findings)
        for notice in checked.notices:
            odd.setdefault(notice, []).append(draft.line.number)
    return [f"{notice} ({line_list(lines)})" for notice, lines in odd.items()]


def _check_clips(
    drafts: Sequence[_Draft], fmt: RecordFormat, file: Path, root: Path | None, workers: int
) -> None:
    """Find every clip and read its header, once a clip, in parallel; failures become findings."""
    key = fmt.audio_field
    if not fmt.heard:
        for draft in drafts:
            draft.clip = Path(str((draft.line.fields or {}).get(key) or ""))
        return
    with_path = [d for d in drafts if d.line.fields and not check_text(d.line.fields, key)]
    written = {id(draft): str((draft.line.fields or {})[key]) for draft in with_path}
    located = locate_clips(written.values(), jsonl=file, audio_root=root, workers=workers)
    clips = {place for place in located.values() if isinstance(place, Path)}
    headers = ask_each(_header_or_error, clips, workers)
    for draft in with_path:
        place = located[written[id(draft)]]
        if isinstance(place, NotLocated):
            draft.findings.append(Finding(key, place.problem, place.fix))
            continue
        header = headers[place]
        if isinstance(header, UnreadableClipError):
            problem = f"{written[id(draft)]}: {header.reason}"
            draft.findings.append(Finding(key, problem, header.fix))
        else:
            draft.clip, draft.seconds = place, header.seconds


def _header_or_error(clip: Path) -> ClipHeader | UnreadableClipError:
    try:
        return read_header(clip)
    except UnreadableClipError as error:
        return error


def _check_lengths(
    drafts: Sequence[_Draft], key: str, max_seconds: float, on_long: str
) -> list[str]:
    """Clips too short or too long: a finding, or where they may be trimmed, a notice."""
    trimmed = []
    for draft in drafts:
        if draft.clip is None:
            continue
        if draft.seconds < MIN_SECONDS:
            problem = f"{draft.clip.name} lasts {draft.seconds:.3g} s, too short to be heard"
            fix = f"give a clip of at least {MIN_SECONDS} s, or leave the record out"
            draft.findings.append(Finding(key, problem, fix))
        elif draft.seconds > max_seconds and on_long == "trim":
            draft.seconds = max_seconds
            trimmed.append(draft.line.number)
        elif draft.seconds > max_seconds:
            problem = f"{draft.clip.name} lasts {draft.seconds:.2f} s, more than {max_seconds:g} s"
            fix = "cut the clip, or hear only its beginning with task.data.on_long=trim"
            draft.findings.append(Finding(key, problem, fix))
    if not trimmed:
        return []
    return [
        f"{counted(len(trimmed), 'clip')} trimmed to the first {max_seconds:g} s "
        f"({line_list(trimmed)})"
    ]


def _problems(drafts: Sequence[_Draft], file: Path) -> list[Problem]:
    return [
        _problem(file, draft.line.number, draft.id, finding)
        for draft in drafts
        for finding in draft.findings
    ]


def _problem(file: Path, line: int | None, record_id: str | None, finding: Finding) -> Problem:
    return Problem(file=file, line=line, id=record_id, **finding._asdict())


def _record(draft: _Draft, file: Path) -> Record:
    fields, clip = draft.line.fields, draft.clip
    if fields is None or clip is None or draft.id is None:
        raise RuntimeError(f"line {draft.line.number} has neither a problem nor a record")
    return Record(
        id=draft.id,
        file=file,
        line=draft.line.number,
        clip=clip,
        seconds=draft.seconds,
        fields=fields,
        ratings=draft.ratings,
    )
