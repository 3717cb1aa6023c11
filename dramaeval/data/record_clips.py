"""The clips of records: where they are, whether they can be read, and whether their lengths are valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dramaeval.data.audio import ClipHeader, UnreadableClipError, read_header
from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.durations import length_problem
from dramaeval.data.files import map_files
from dramaeval.data.jsonl import Line
from dramaeval.data.problems import Finding, counted, line_list
from dramaeval.data.raters import RaterInfo
from dramaeval.data.record_format import Ratings, RecordFormat
from dramaeval.data.same_content import same_content
from dramaeval.data.turns import TURNS, turn_paths


@dataclass
class Draft:
    """A line that is being turned into a record, with the problems found so far."""

    line: Line
    id: str | None = None
    ratings: Ratings = field(default_factory=dict)
    raters: dict[str, RaterInfo] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    clips: dict[str, tuple[Path, float]] = field(default_factory=dict)
    """Path and length in seconds of each clip, by its key."""


def check_clips(
    drafts: Sequence[Draft],
    fmt: RecordFormat,
    key: str,
    file: Path,
    root: Path | None,
    workers: int,
) -> None:
    """Locate every clip of one key and read each header once, in parallel; failures become findings."""
    written = [
        (draft, place, path)
        for draft in drafts
        for place, path in _paths(draft, key).items()
        if not fmt.reads_audio or place not in {finding.key for finding in draft.findings}
    ]
    if not fmt.reads_audio:
        for draft, place, path in written:
            draft.clips[place] = Path(path), 0.0
        return
    located = locate_clips(
        (path for _, _, path in written), jsonl=file, audio_root=root, workers=workers
    )
    clips = {clip for clip in located.values() if isinstance(clip, Path)}
    headers = map_files(_header_or_error, clips, workers)
    for draft, place, path in written:
        clip = located[path]
        if isinstance(clip, NotLocated):
            draft.findings.append(Finding(place, clip.problem, clip.fix))
            continue
        header = headers[clip]
        if isinstance(header, UnreadableClipError):
            draft.findings.append(Finding(place, f"{path}: {header.reason}", header.fix))
        else:
            draft.clips[place] = clip, header.seconds


def _paths(draft: Draft, key: str) -> dict[str, str]:
    """The paths of clips as written under a key, by place: the key itself, or that of a turn."""
    fields = draft.line.fields
    if fields is None or key == TURNS:
        return turn_paths(fields or {})
    return {key: str(fields.get(key) or "")}


def check_distinct(drafts: Sequence[Draft], first: str, second: str, workers: int) -> None:
    """Report pairs whose clips, under two keys, are the same file, or two files of the same bytes."""
    pairs = [
        (draft, [draft.clips[key][0] for key in (first, second)])
        for draft in drafts
        if {first, second} <= draft.clips.keys()
    ]
    contents = same_content((clip for _, clips in pairs for clip in clips), workers)
    for draft, (a, b) in pairs:
        if contents[a] == contents[b]:
            same = "file" if a == b else "audio, byte for byte,"
            problem = f"{b.name} is the same {same} as the first clip"
            draft.findings.append(Finding(second, problem, "give two clips, or leave the pair out"))


def _header_or_error(clip: Path) -> ClipHeader | UnreadableClipError:
    try:
        return read_header(clip)
    except UnreadableClipError as error:
        return error


def check_lengths(drafts: Sequence[Draft], key: str, max_seconds: float, on_long: str) -> list[str]:
    """Report clips that are too short or too long; returns a notice of those that are trimmed."""
    trimmed = []
    for draft in drafts:
        for place in (place for place in _paths(draft, key) if place in draft.clips):
            clip, seconds = draft.clips[place]
            if on_long == "trim" and seconds > max_seconds:
                seconds = max_seconds
                draft.clips[place] = clip, seconds
                trimmed.append(draft.line.number)
            if reason := length_problem(clip.name, seconds, max_seconds):
                draft.findings.append(Finding(place, *reason))
    if not trimmed:
        return []
    return [
        f"{counted(len(trimmed), 'clip')} trimmed to the first {max_seconds:g} s "
        f"({line_list(list(dict.fromkeys(trimmed)))})"
    ]
