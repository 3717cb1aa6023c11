"""The clips of records: where they are, whether they can be read, and whether their lengths are valid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dramaeval.config.task_schema import WINDOW_SECONDS
from dramaeval.data.audio import ClipHeader, UnreadableClipError, read_header
from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.durations import beside
from dramaeval.data.files import map_files
from dramaeval.data.jsonl import Line
from dramaeval.data.problems import Finding, counted, line_list
from dramaeval.data.raters import RaterInfo
from dramaeval.data.record_format import Ratings, RecordFormat
from dramaeval.data.same_content import same_content

MIN_SECONDS = 0.04
"""The shortest clip that can be judged: the audio encoder produces one token for 0.04 s."""


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


def length_problem(name: str, seconds: float, max_seconds: float) -> tuple[str, str] | None:
    """(problem, fix) of a clip that is too short or, where it may not be trimmed, too long."""
    if seconds < MIN_SECONDS:
        fix = f"give a clip of at least {MIN_SECONDS} s, or leave the record out"
        return f"{name} lasts {beside(seconds, MIN_SECONDS)} s, too short to be judged", fix
    if seconds > max_seconds:
        fix = "cut the clip, or use only its beginning with task.data.on_long=trim"
        if seconds > WINDOW_SECONDS:
            fix += (
                ", or all of it in several windows with task.data.on_long=segments "
                f"task.data.max_seconds={math.ceil(seconds)}"
            )
        return f"{name} lasts {beside(seconds, max_seconds)} s, more than {max_seconds:g} s", fix
    return None


def check_clips(
    drafts: Sequence[Draft],
    fmt: RecordFormat,
    key: str,
    file: Path,
    root: Path | None,
    workers: int,
) -> None:
    """Locate every clip of one key and read each header once, in parallel; failures become findings."""
    if not fmt.reads_audio:
        for draft in drafts:
            draft.clips[key] = Path(str((draft.line.fields or {}).get(key) or "")), 0.0
        return
    written = [
        (draft, str(draft.line.fields[key]))
        for draft in drafts
        if draft.line.fields and key not in {finding.key for finding in draft.findings}
    ]
    located = locate_clips(
        (path for _, path in written), jsonl=file, audio_root=root, workers=workers
    )
    clips = {clip for clip in located.values() if isinstance(clip, Path)}
    headers = map_files(_header_or_error, clips, workers)
    for draft, path in written:
        clip = located[path]
        if isinstance(clip, NotLocated):
            draft.findings.append(Finding(key, clip.problem, clip.fix))
            continue
        header = headers[clip]
        if isinstance(header, UnreadableClipError):
            draft.findings.append(Finding(key, f"{path}: {header.reason}", header.fix))
        else:
            draft.clips[key] = clip, header.seconds


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
        if key not in draft.clips:
            continue
        clip, seconds = draft.clips[key]
        if on_long == "trim" and seconds > max_seconds:
            seconds = max_seconds
            draft.clips[key] = clip, seconds
            trimmed.append(draft.line.number)
        if reason := length_problem(clip.name, seconds, max_seconds):
            draft.findings.append(Finding(key, *reason))
    if not trimmed:
        return []
    return [
        f"{counted(len(trimmed), 'clip')} trimmed to the first {max_seconds:g} s "
        f"({line_list(trimmed)})"
    ]
