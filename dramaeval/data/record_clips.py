"""Locates the clips of records, and checks whether they can be read and their lengths are valid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dramaeval.data.audio import UnreadableClipError, read_header
from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.durations import length_problem
from dramaeval.data.files import WORKERS, map_files, same_content
from dramaeval.data.jsonl import Line
from dramaeval.data.problems import Finding, counted, line_list
from dramaeval.data.raters import RaterInfo
from dramaeval.data.record_format import Ratings, RecordFormat
from dramaeval.data.turns import TURNS, turn_paths


@dataclass
class Draft:
    """The parts of a record and its problems, collected while a line is checked."""

    line: Line
    id: str | None = None
    ratings: Ratings = field(default_factory=dict)
    raters: dict[str, RaterInfo] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    clips: dict[str, tuple[Path, float]] = field(default_factory=dict)
    """Path and length in seconds of each clip, by the clip's key."""


def check_clips(
    drafts: Sequence[Draft],
    fmt: RecordFormat,
    key: str,
    file: Path,
    root: Path | None,
    workers: int,
) -> None:
    """Locate every clip under one key and read each header once, in parallel; problems become findings."""
    paths = [
        (draft, clip_key, path)
        for draft in drafts
        for clip_key, path in _paths(draft, key).items()
        if not fmt.reads_audio or clip_key not in {finding.key for finding in draft.findings}
    ]
    if not fmt.reads_audio:
        for draft, clip_key, path in paths:
            draft.clips[clip_key] = Path(path), 0.0
        return
    clips = read_clips((path for _, _, path in paths), file, root, workers)
    for draft, clip_key, path in paths:
        clip = clips[path]
        if isinstance(clip, NotLocated):
            draft.findings.append(Finding(clip_key, *clip))
        elif isinstance(clip, UnreadableClipError):
            draft.findings.append(Finding(clip_key, f"{path}: {clip.reason}", clip.fix))
        else:
            draft.clips[clip_key] = clip


def read_clips(
    paths: Iterable[str], jsonl: Path, root: Path | None, workers: int = WORKERS
) -> dict[str, tuple[Path, float] | NotLocated | UnreadableClipError]:
    """Path and length in seconds of each clip, or why there are none; arguments as for `locate_clips`."""
    located = locate_clips(paths, jsonl=jsonl, audio_root=root, workers=workers)
    files = {file for file in located.values() if isinstance(file, Path)}
    lengths = map_files(_with_length, files, workers)
    return {
        path: lengths[file] if isinstance(file, Path) else file for path, file in located.items()
    }


def _with_length(file: Path) -> tuple[Path, float] | UnreadableClipError:
    try:
        return file, read_header(file).seconds
    except UnreadableClipError as error:
        return error


def _paths(draft: Draft, key: str) -> dict[str, str]:
    """The record's clip paths under a key, by the key of each clip: `key`, or the key of each turn (`turn_key`)."""
    fields = draft.line.fields
    if fields is None or key == TURNS:
        return turn_paths(fields or {})
    return {key: str(fields.get(key) or "")}


def check_distinct(drafts: Sequence[Draft], first: str, second: str, workers: int) -> None:
    """Report pairs whose two clips are the same file or have the same bytes."""
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


def check_lengths(drafts: Sequence[Draft], key: str, max_seconds: float, on_long: str) -> list[str]:
    """Report clips that are too short or too long; return a notice about trimmed clips."""
    trimmed = []
    for draft in drafts:
        for clip_key in (name for name in _paths(draft, key) if name in draft.clips):
            clip, seconds = draft.clips[clip_key]
            if on_long == "trim" and seconds > max_seconds:
                seconds = max_seconds
                draft.clips[clip_key] = clip, seconds
                trimmed.append(draft.line.number)
            if problem := length_problem(clip.name, seconds, max_seconds):
                draft.findings.append(Finding(clip_key, *problem))
    if not trimmed:
        return []
    return [
        f"{counted(len(trimmed), 'clip')} trimmed to the first {max_seconds:g} s "
        f"({line_list(trimmed)})"
    ]
