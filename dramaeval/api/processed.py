"""Processed training data: lines that hold a rendered prompt and its solution instead of ratings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.audio import UnreadableClipError, read_header
from dramaeval.data.jsonl import Line
from dramaeval.data.locate import NotLocated, locate_clips
from dramaeval.data.problems import BadRecordsError, Finding, Problem
from dramaeval.data.records import Record
from dramaeval.tasks.labels import sample
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

ANSWER = "answer"
_SOLUTION = re.compile(r"<answer>\s*(\d)\s*</answer>")


class ProcessedTask(Task):
    """Asks what each line's own prompt asks; the only dimension is the line's answer."""

    def __init__(self, scores: Sequence[int]) -> None:
        low, high = min(scores), max(scores)
        # The scale only matters for logged figures: what is trained is the solution's own token.
        scale = [0, 1] if high <= 1 else list(range(min(low, 1), max(high, 5) + 1))
        dimension = {
            "key": ANSWER,
            "annotation": ANSWER,
            "title": "Answer",
            "scale": scale,
            "description": "The solution.",
            "scores": {score: str(score) for score in scale},
        }
        rubric = {"name": "processed", "version": "1", "dimensions": [dimension]}
        super().__init__(name="processed", rubric=rubric, system="", context="", labels=sample)

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """The line's prompt as it stands."""
        return list(record.fields["prompt"])


def is_processed(fields: Mapping[str, Any]) -> bool:
    """Whether a line is processed training data."""
    return "prompt" in fields and "solution" in fields


def read_processed(
    file: Path, lines: Sequence[Line], sample_rate: int, audio_root: Path | None = None
) -> tuple[ProcessedTask, list[Record]]:
    """Turn processed lines into records whose one rating is the solution.

    A clip is the file that the prompt's audio part names, or, where that is not there, the line's ``audio``.

    Raises:
        BadRecordsError: with every line that cannot be used.
    """
    problems: list[Problem] = []
    drafts: list[tuple[Line, dict[str, Any], str, int]] = []
    for line in lines:
        findings = list(line.findings)
        fields = line.fields or {}
        if not findings:
            findings += _findings(fields)
        if findings:
            problems += [_problem(file, line, finding) for finding in findings]
            continue
        found = _SOLUTION.fullmatch(fields["solution"].strip())
        if found:
            drafts.append((line, fields, audio_of(fields["prompt"])[0], int(found[1])))
    located = locate_clips([path for _, _, path, _ in drafts], jsonl=file, audio_root=audio_root)
    records = []
    for line, fields, path, score in drafts:
        try:
            clip, seconds = _clip(fields, located[path], sample_rate)
        except UnreadableClipError as error:
            problems.append(_problem(file, line, Finding("prompt", error.reason, error.fix)))
            continue
        identity = fields.get("id")
        records.append(
            Record(
                id=identity if isinstance(identity, str) else f"{file.name}:{line.number}",
                file=file,
                line=line.number,
                clip=clip,
                seconds=seconds,
                fields=fields,
                ratings={ANSWER: (float(score),)},
            )
        )
    if problems:
        raise BadRecordsError(problems)
    return ProcessedTask([score for _, _, _, score in drafts]), records


def audio_of(prompt: Sequence[Mapping[str, Any]]) -> list[str]:
    """The paths of a prompt's audio parts, in order; empty text where a part names none."""
    found = []
    for message in prompt:
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "audio":
                named = [part[key] for key in ("audio_url", "audio", "path") if part.get(key)]
                found.append(str(named[0]) if named else "")
    return found


def _findings(fields: Mapping[str, Any]) -> list[Finding]:
    findings = []
    prompt, solution, audio = (fields.get(key) for key in ("prompt", "solution", "audio"))
    fix = (
        'write {"prompt": [{"role": "user", "content": [{"type": "audio", …}, …]}], "solution": …}'
    )
    messages = isinstance(prompt, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("role"), str)
        and (
            isinstance(one.get("content"), str)
            or (
                isinstance(one.get("content"), list)
                and all(isinstance(part, dict) for part in one["content"])
            )
        )
        for one in prompt
    )
    if not messages or not isinstance(prompt, list):
        findings.append(Finding("prompt", "not a list of chat messages", fix))
    elif len(audio_of(prompt)) != 1:
        problem = f"{len(audio_of(prompt))} audio parts where one is expected"
        findings.append(Finding("prompt", problem, fix))
    if not isinstance(solution, str) or not _SOLUTION.fullmatch(solution.strip()):
        findings.append(
            Finding(
                "solution", "not of the form <answer>4</answer>", "write one digit between the tags"
            )
        )
    numbers = isinstance(audio, list) and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in audio
    )
    if audio is not None and not numbers:
        findings.append(Finding("audio", "not a list of numbers", "leave it out, or write samples"))
    return findings


def _clip(fields: Mapping[str, Any], place: Path | NotLocated, rate: int) -> tuple[Path, float]:
    if isinstance(place, Path):
        return place, read_header(place).seconds
    if fields.get("audio"):
        return Path("audio"), len(fields["audio"]) / rate
    raise UnreadableClipError(Path("audio"), place.problem, place.fix)


def inline_audio(record: Record) -> np.ndarray | None:
    """The samples that a line holds itself, where its prompt names no file that is there."""
    if record.clip != Path("audio"):
        return None
    return np.asarray(record.fields["audio"], dtype=np.float32)


def _problem(file: Path, line: Line, finding: Finding) -> Problem:
    identity = (line.fields or {}).get("id")
    known = identity if isinstance(identity, str) else None
    return Problem(file=file, line=line.number, id=known, **finding._asdict())
