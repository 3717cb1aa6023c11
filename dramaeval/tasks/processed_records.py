"""Reads processed records: lines with ``prompt`` and ``solution``.

``stages=[prepare]`` writes them, and Speech-DRAME's training data has this form. ``prompt`` is a list of chat
messages, and the user's message has one audio part. ``solution`` is the answer to train, ``<answer>4</answer>``,
``<answer>[PitchDynamics]4[…]3</answer>`` or ``<answer>a text</answer>``, with or without a ``<think>`` part.
``audio`` has the path of the clip if the audio part has none, or the samples of the clip. ``places`` may add, for
each answer in the solution, ``dimension``, ``scale``, ``ratings``, ``raters`` and ``options``, for evaluation.
Scores are single digits, or the numbers of ``scale``; ``answers`` lists the texts of the scores if these are not the
numbers. Without a scale, an answer that is not one digit is a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.audio import UnreadableClipError, read_header
from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.durations import length_problem
from dramaeval.data.inline_audio import INLINE
from dramaeval.data.jsonl import Line
from dramaeval.data.levels import SCALE_FIX, Levels
from dramaeval.data.problems import Finding, Problem
from dramaeval.data.raters import POSITIONAL, RATERS, RaterInfo, is_number
from dramaeval.data.record_format import OPTIONAL_TEXTS, RATING_LIST, check_optional_text
from dramaeval.data.records import Record, problems_of
from dramaeval.tasks.scale import number_text

ANSWER = "answer"
"""Dimension key of an answer without a name in the line."""
_SOLUTION = re.compile(
    r"(?P<lead>(?:<think>(?P<thought>.*)</think>\s*)?<answer>)(?P<answer>.+)</answer>", re.DOTALL
)
_NAME = r"\s*\[([^\[\]]+)\]"
#: An answer of digits in any script: a single digit, or a digit after each name.
_ANY_DIGITS = re.compile(r"\s*(?:\d|(?:\[[^\[\]]+\]\s*\d\s*)+)\s*")
_FIX = 'write {"prompt": [{"role": "user", "content": [{"type": "audio", …}, …]}], "solution": …}'


@dataclass(frozen=True)
class SolutionPart:
    """One answer of a solution.

    Attributes:
        lead: the text before the answer, from the previous answer or the beginning.
        written: the text of the score or of another answer.
        key: key of the dimension.
        score: whether the answer is a score, not a text.
        tail: the text after the last answer; empty for other answers.
        scale: the scores of the dimension, if the line lists them.
        answers: the text of each score in ``scale``.
        options: the options, if the line lists them.
        ratings: one value per rater, if the line lists them.
        raters: the raters in the line.
    """

    lead: str
    written: str
    key: str
    score: bool
    tail: str = ""
    scale: Sequence[float] = ()
    answers: Sequence[str] = ()
    options: Sequence[str] = ()
    ratings: Sequence[float | None] = ()
    raters: RaterInfo = POSITIONAL

    @property
    def value(self) -> float:
        """The number of the written score, or the index of the written option."""
        if not self.score:
            return self.options.index(self.written) if self.options else 0
        return self.scale[self.answers.index(self.written)] if self.answers else int(self.written)


def solution_parts(fields: Mapping[str, Any]) -> list[SolutionPart]:
    """The answers in the solution of a line, with the entries of ``places``."""
    listed = fields.get("places") or []
    parts = _split_solution(fields["solution"], list(map(_answers, listed)))
    entries = [*listed, *[{}] * len(parts)]
    return [
        replace(
            part,
            key=entry.get("dimension") or part.key,
            scale=entry.get("scale") or (),
            answers=_answers(entry),
            options=entry.get("options") or (),
            ratings=entry.get("ratings") or (),
            raters=RaterInfo.from_json(entry.get(RATERS), len(entry.get("ratings") or ())),
        )
        for part, entry in zip(parts, entries, strict=False)
    ]


def _answers(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of the scores in an entry of ``places``; empty without a scale."""
    return tuple(entry.get("answers") or map(number_text, entry.get("scale") or ()))


def _match(solution: str) -> re.Match[str]:
    match = _SOLUTION.fullmatch(solution.strip())
    if match is None:
        raise ValueError(f"no solution: {solution!r}")  # the reader has rejected such lines
    return match


@lru_cache(maxsize=256)
def _score_pattern(name: str, answers: tuple[str, ...]) -> re.Pattern[str]:
    """The pattern of a score (one of the answers, or a digit) after a name, up to the next name or the end."""
    texts = "|".join(map(re.escape, sorted(answers, key=len, reverse=True)))
    return re.compile(rf"{name}\s*({texts}{'|' if texts else ''}[0-9])\s*(?=\[|\Z)")


def _split_solution(solution: str, answers: Sequence[tuple[str, ...]]) -> list[SolutionPart]:
    """The parts of a solution; ``answers`` has the texts of the scores of each part, if they are known."""
    match = _match(solution)
    lead, answer = match["lead"], match["answer"]
    score = _score_pattern("", answers[0] if answers else ()).match(answer)
    if score and score.end() == len(answer):
        tail = answer[score.end(1) :] + "</answer>"
        return [SolutionPart(lead + answer[: score.start(1)], score[1], ANSWER, True, tail)]
    parts: list[SolutionPart] = []
    end, begin = 0, 0
    while begin < len(answer):
        scores = answers[len(parts)] if len(parts) < len(answers) else ()
        item = _score_pattern(_NAME, scores).match(answer, begin)
        if item is None:
            return [SolutionPart(lead, answer, ANSWER, False, "</answer>")]
        before = (lead if not parts else "") + answer[end : item.start(2)]
        end, begin = item.end(2), item.end()
        parts.append(SolutionPart(before, item[2], item[1], True))
    parts[-1] = replace(parts[-1], tail=answer[end:] + "</answer>")
    return parts


def written_texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The texts between the tags of a solution, and the options, by key of the line."""
    match = _match(fields["solution"])
    texts = [match["thought"] or "", match["answer"]]
    options = [text for entry in fields.get("places") or [] for text in entry.get("options") or []]
    return {"solution": "\n".join(texts), "places": "\n".join(map(str, options))}


def prompt_text(prompt: Sequence[Mapping[str, Any]]) -> str:
    """The roles and texts of a prompt's messages, one per line."""
    texts: list[str] = []
    for message in prompt:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        texts += [message["role"], *(part["text"] for part in parts if "text" in part)]
    return "\n".join(texts)


def is_processed(fields: Mapping[str, Any]) -> bool:
    """Whether a line is a processed record."""
    return "prompt" in fields and "solution" in fields


def audio_of(prompt: Sequence[Mapping[str, Any]]) -> list[str]:
    """The paths of the audio parts of a prompt, in order; an empty text for a part without a path."""
    paths = []
    for message in prompt:
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "audio":
                keys = ("audio_url", "audio", "path")
                paths.append(str(next((part[key] for key in keys if part.get(key)), "")))
    return paths


class ProcessedReader:
    """Converts lines to records, and collects their problems.

    Args:
        file: the JSONL file.
        reads_audio: whether the judge takes audio; otherwise clips are not looked up.
        max_seconds: maximum length of a clip.
        trims: whether longer clips are trimmed instead of rejected.
        rate: sampling rate in Hz of audio samples in the lines.
    """

    def __init__(
        self, file: Path, reads_audio: bool, max_seconds: float, trims: bool, rate: int
    ) -> None:
        self.file = file
        self.reads_audio = reads_audio
        self.max_seconds = max_seconds
        self.trims = trims
        self.rate = rate
        self.problems: list[Problem] = []

    def records(self, lines: Sequence[Line], root: Path | None, workers: int) -> list[Record]:
        """The valid records, in the order of the file."""
        valid: list[tuple[Line, dict[str, Any], str]] = []
        for line in lines:
            fields = line.fields or {}
            findings = list(line.findings) or _findings(fields)
            self._report(line, findings)
            if not findings:
                valid.append((line, fields, _path(fields)))
        located: Mapping[str, Path | NotLocated] = {}
        if self.reads_audio:
            paths = [path for _, _, path in valid]
            located = locate_clips(paths, jsonl=self.file, audio_root=root, workers=workers)
        records = []
        for line, fields, path in valid:
            try:
                records.append(self._record(line.number, fields, located.get(path, Path(path))))
            except UnreadableClipError as error:
                self._report(line, [Finding("prompt", error.reason, error.fix)])
        return records

    def _report(self, line: Line, findings: Sequence[Finding]) -> None:
        written_id = (line.fields or {}).get("id")
        record_id = written_id if isinstance(written_id, str) else None
        self.problems += problems_of(findings, self.file, line.number, record_id)

    def _record(self, number: int, fields: dict[str, Any], place: Path | NotLocated) -> Record:
        clip, seconds = self._clip(fields, place) if self.reads_audio else (Path(str(place)), 0.0)
        written_id = fields.get("id")
        ratings: dict[str, tuple[float | None, ...]] = {}
        raters: dict[str, RaterInfo] = {}
        for part in solution_parts(fields):
            ratings[part.key] = tuple(part.ratings) or (float(part.value),)
            raters[part.key] = part.raters
        return Record(
            id=written_id if isinstance(written_id, str) else f"{self.file.name}:{number}",
            file=self.file,
            line=number,
            clip=clip,
            seconds=seconds,
            fields=fields,
            ratings=ratings,
            raters=raters,
        )

    def _clip(self, fields: Mapping[str, Any], place: Path | NotLocated) -> tuple[Path, float]:
        if isinstance(place, Path):
            clip, seconds = place, read_header(place).seconds
        elif isinstance(fields.get("audio"), list):
            clip, seconds = INLINE, len(fields["audio"]) / self.rate
            levels = Levels()
            levels.add(np.asarray(fields["audio"], dtype=np.float32)[:, None])
            if problem := levels.problem():
                raise UnreadableClipError(INLINE, problem, SCALE_FIX)
        else:
            raise UnreadableClipError(INLINE, place.problem, place.fix)
        seconds = min(seconds, self.max_seconds) if self.trims else seconds
        if reason := length_problem(clip.name, seconds, self.max_seconds):
            raise UnreadableClipError(clip, *reason)
        return clip, seconds


def _path(fields: Mapping[str, Any]) -> str:
    audio = fields.get("audio")
    return audio_of(fields["prompt"])[0] or (audio if isinstance(audio, str) else "")


def _findings(fields: Mapping[str, Any]) -> list[Finding]:
    findings = []
    prompt, solution, audio = (fields.get(key) for key in ("prompt", "solution", "audio"))
    if not isinstance(prompt, list) or not all(map(_is_message, prompt)):
        findings.append(Finding("prompt", "not a list of chat messages", _FIX))
    elif len(audio_of(prompt)) != 1:
        problem = f"{len(audio_of(prompt))} audio parts where one is expected"
        findings.append(Finding("prompt", problem, _FIX))
    match = _SOLUTION.fullmatch(solution.strip()) if isinstance(solution, str) else None
    if match is None:
        problem, fix = "not of the form <answer>4</answer>", "write the answer between the tags"
        findings.append(Finding("solution", problem, fix))
    elif digits := _other_digits(match["answer"]):
        problem = f"{', '.join(digits)}: not one of the digits 0-9"
        fix = f"write the score as {', '.join(str(int(digit)) for digit in digits)}"
        findings.append(Finding("solution", problem, fix))
    elif not findings:
        findings += _place_findings(fields)
    optional = (check_optional_text(fields, key) for key in OPTIONAL_TEXTS)
    findings += [finding for finding in optional if finding]
    samples = isinstance(audio, list) and all(map(is_number, audio))
    if audio is not None and not samples and not isinstance(audio, str):
        fix = "leave it out, or write a path or samples"
        findings.append(Finding("audio", "neither a path nor a list of numbers", fix))
    return findings


def _other_digits(answer: str) -> list[str]:
    """The scores of an answer that are written in digits other than 0-9."""
    digits = re.findall(r"\d(?=\s*(?:\[|$))", answer) if _ANY_DIGITS.fullmatch(answer) else []
    return [digit for digit in digits if not digit.isascii()]


def _is_message(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        return False
    content = value.get("content")
    return isinstance(content, str) or (
        isinstance(content, list)
        and all(isinstance(part, dict) for part in content)
        and all(isinstance(part.get("text", ""), str) for part in content)
    )


def _place_findings(fields: Mapping[str, Any]) -> list[Finding]:
    places = fields.get("places")
    if places is None:
        return []
    if not isinstance(places, list) or not all(isinstance(entry, dict) for entry in places):
        fix = "leave it out, or write it as stages=[prepare] does"
        return [Finding("places", "not a list of objects", fix)]
    findings = [finding for entry in places for finding in _entry_findings(entry)]
    if findings:
        return findings
    parts = solution_parts(fields)
    if len(places) != len(parts):
        problem = f"{len(places)} places for {len(parts)} answers in the solution"
        return [Finding("places", problem, "write one object per answer")]
    for part, entry in zip(parts, places, strict=True):
        scale, options = entry.get("scale"), entry.get("options")
        if scale and part.written not in part.answers:
            problem = f"the solution's {part.written} is off the scale {scale}"
            findings.append(Finding("places", problem, "correct the scale or the solution"))
        if not part.score and options is not None and part.written not in options:
            problem = f"the solution {part.written!r} is not among the options"
            findings.append(Finding("places", problem, "add it to the options"))
        findings += _rating_findings(entry.get("ratings"), scale)
    return findings


def _entry_findings(entry: Mapping[str, Any]) -> list[Finding]:
    """Problems of values with another type than ``stages=[prepare]`` writes."""
    dimension, scale, options = (entry.get(key) for key in ("dimension", "scale", "options"))
    findings = []
    if not isinstance(dimension, str | None):
        findings.append(Finding("places", "dimension is not a text", "write it in quotes"))
    if not isinstance(scale, list | None) or not all(map(is_number, scale or ())):
        findings.append(Finding("places", "scale is not a list of numbers", "write [1, 2, 3]"))
    elif (answers := entry.get("answers")) is not None and not (
        isinstance(answers, list)
        and all(isinstance(text, str) and text.strip() for text in answers)
        and len(set(answers)) == len(answers) == len(scale or ())
    ):
        problem = "answers is not a list with a text of its own for each score of the scale"
        findings.append(Finding("places", problem, "write it as stages=[prepare] does"))
    if not isinstance(options, list | None) or any(
        not isinstance(option, str) for option in options or ()
    ):
        findings.append(Finding("places", "options is not a list of texts", 'write ["a", "b"]'))
    ratings = entry.get("ratings")
    if not isinstance(ratings, list | None):
        return [*findings, *_rating_findings(ratings, None)]
    try:
        RaterInfo.from_json(entry.get(RATERS), len(ratings or ()))
    except ValueError as error:
        findings.append(Finding("places", str(error), "write it as stages=[prepare] does"))
    return findings


def _rating_findings(ratings: Any, scale: Any) -> list[Finding]:
    fix = f"write a list: {RATING_LIST}"
    if not isinstance(ratings, list | None):
        return [Finding("places", "ratings that are not a list", fix)]
    wrong = [
        value
        for value in ratings or []
        if value is not None
        and not (is_number(value) and (not scale or min(scale) <= value <= max(scale)))
    ]
    return [Finding("places", f"ratings off the scale: {wrong[:6]}", fix)] if wrong else []
