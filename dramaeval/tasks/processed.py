"""Processed records: lines that bring their own ``prompt`` and ``solution``, which are taken as they are.

They are what ``stages=[prepare]`` writes, and the published module's training data. ``prompt`` is a list of
chat messages, the user's with an audio part; ``solution`` is what is to be answered, ``<answer>4</answer>``,
``<answer>[PitchDynamics]4[…]3</answer>`` or ``<answer>a text</answer>``, with or without a ``<think>`` part;
``audio`` names the clip where the prompt's audio part does not. ``places`` may add, for each answer in the
solution, its ``dimension``, ``scale``, ``ratings`` and ``options``, by which it is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.audio import UnreadableClipError, read_header
from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.jsonl import Line, UnreadableFileError, read_lines
from dramaeval.data.problems import BadRecordsError, Finding, Problem
from dramaeval.data.records import MIN_SECONDS, ReadResult, Record
from dramaeval.tasks.labels import sample
from dramaeval.tasks.question import AnswerField, Question
from dramaeval.tasks.rubric import Dimension, Rubric
from dramaeval.tasks.task import Target, Task

ANSWER = "answer"
INLINE = Path("audio")
"""The clip of a record that holds its samples itself."""
_SOLUTION = re.compile(
    r"(?P<lead>(?:<think>.*</think>\s*)?<answer>)(?P<answer>.+)</answer>", re.DOTALL
)
_SCORE = re.compile(r"\s*(\d)\s*")
_NAMED = re.compile(r"\s*\[([^\[\]]+)\]\s*(\d)\s*")
_FIX = 'write {"prompt": [{"role": "user", "content": [{"type": "audio", …}, …]}], "solution": …}'


@dataclass(frozen=True)
class _Part:
    """One answer of a solution: the text before it, what is written, and its name; see `_parts`."""

    lead: str
    written: str
    key: str
    score: bool


class ProcessedTask(Task):
    """Asks what each line's own prompt asks. Dimensions are those that the lines name, else ``answer``.

    What is trained is the solution, token by token, whatever ratings stand beside it; these are for
    evaluation. A text answer without ``options`` is trained and cannot be scored, which is counted.

    Args:
        name: the task's name in results.
    """

    one_at_a_time = False

    def __init__(self, *, name: str = "processed") -> None:
        rubric = Rubric(name=name, version="as given", dimensions=())
        super().__init__(name=name, rubric=rubric, system="", context="", labels=sample)
        self._scores: dict[str, set[int]] = {}
        self._told: dict[str, set[int]] = {}
        self._options: set[str] = set()

    def read(
        self,
        file: str | Path,
        *,
        heard: bool = True,
        annotated: bool = True,
        **options: Any,
    ) -> ReadResult:
        """See `Task.read`; ``sample_rate`` is that of samples which stand in the lines themselves."""
        return self._read(Path(file).expanduser(), heard, **options)

    def _read(
        self,
        file: Path,
        heard: bool,
        *,
        audio_root: str | Path | None = None,
        on_bad: str = "stop",
        max_seconds: float = 30.0,
        on_long: str = "error",
        workers: int = 8,
        sample_rate: int = 16_000,
    ) -> ReadResult:
        try:
            lines = read_lines(file)
        except UnreadableFileError as error:
            problem = Problem(file=file, line=None, id=None, **error.finding._asdict())
            raise BadRecordsError([problem]) from None
        found = _Reading(file, heard, max_seconds, on_long == "trim", sample_rate)
        root = None if audio_root is None else Path(audio_root).expanduser()
        records = found.records(lines, root, workers)
        if found.problems and (on_bad != "skip" or not records):
            raise BadRecordsError(found.problems)
        for record in records:
            self._take_in(record)
        return ReadResult(records=records, skipped=found.problems)

    def _take_in(self, record: Record) -> None:
        """Get to know the dimensions of a record."""
        for part, given in zip(_parts(record.fields), _given(record.fields), strict=True):
            scores = self._scores.setdefault(part.key, set())
            told = self._told.setdefault(part.key, set())
            if part.score:
                scores.add(int(part.written))
                told.update(given.get("scale") or ())
            else:
                self._options.add(part.key)
        self.dimensions = tuple(_dimension(key, self._scale(key)) for key in self._scores)

    def _scale(self, key: str) -> tuple[int, ...]:
        """As the lines tell it; where they do not, pass or fail, or 1 to 5 and what else is written."""
        scores, told = self._scores[key], self._told[key]
        if told or key in self._options:
            return tuple(sorted(scores | told)) or (0, 1)
        return (0, 1) if max(scores) <= 1 else tuple(sorted(scores | {1, 2, 3, 4, 5}))

    @property
    def rated(self) -> tuple[Dimension, ...]:
        """See `Task.rated`."""
        return tuple(one for one in self.dimensions if one.key not in self._options)

    def asked(self, record: Record) -> tuple[Dimension, ...]:
        """See `Task.asked`."""
        by_key = {one.key: one for one in self.dimensions}
        return tuple(by_key[part.key] for part in _parts(record.fields))

    def questions(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        rng: np.random.Generator | None = None,
    ) -> list[Question]:
        """See `Task.questions`: the line's prompt as it stands, with all of its answers."""
        parts, given = _parts(record.fields), _given(record.fields)
        if rng is None and any(
            not one.score and not more.get("options")
            for one, more in zip(parts, given, strict=True)
        ):
            return []
        by_key = {one.key: one for one in self.dimensions}
        places = []
        for number, (part, more) in enumerate(zip(parts, given, strict=True)):
            dimension = by_key[part.key]
            tail = _tail(record.fields) if number == len(parts) - 1 else ""
            if part.score:
                places.append(AnswerField.of_score(dimension, part.lead, tail))
                continue
            choices = tuple(more.get("options") or (part.written,))
            scale = tuple(range(len(choices)))
            places.append(
                AnswerField(
                    dimension=dimension,
                    choices=choices,
                    scale=scale,
                    lead=part.lead,
                    tail=tail,
                    options=True,
                )
            )
        return [
            Question(
                messages=self.messages(record, by_key[parts[0].key]),
                places=tuple(places),
                key=(ANSWER,),
            )
        ]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """The line's prompt as it stands."""
        return list(record.fields["prompt"])

    def ratings(self, record: Record, dimension: Dimension) -> tuple[float | None, ...]:
        """The ratings that the line brings along, else its solution's."""
        return record.ratings.get(dimension.key, ())

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: np.random.Generator
    ) -> dict[str, Target]:
        """All of it on what the solution says."""
        (question,) = self.questions(record, dimensions, rng)
        found = {}
        for part, place in zip(_parts(record.fields), question.places, strict=True):
            target = np.zeros(len(place.choices))
            target[place.choices.index(part.written)] = 1.0
            found[part.key] = Target(target)
        return found

    def target(
        self, record: Record, dimension: Dimension, rng: np.random.Generator
    ) -> np.ndarray | None:
        """See `targets`."""
        return self.targets(record, [dimension], rng)[dimension.key].distribution

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """See `Task.remarks`: what is trained and cannot be scored."""
        count = sum(not self.questions(record, self.asked(record)) for record in records)
        return {"have a text as answer and no options, and are not scored": count} if count else {}


def is_processed(fields: Mapping[str, Any]) -> bool:
    """Whether a line is processed training data."""
    return "prompt" in fields and "solution" in fields


def inline_audio(record: Record) -> np.ndarray | None:
    """The samples that a line holds itself, where its prompt names no file that is there."""
    if record.clip != INLINE:
        return None
    return np.asarray(record.fields["audio"], dtype=np.float32)


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


def _dimension(key: str, scale: tuple[int, ...]) -> Dimension:
    scores = {score: str(score) for score in scale}
    return Dimension(
        key=key,
        annotation=key,
        title=key,
        scale=scale,
        description="As the prompt says.",
        scores=scores,
    )


def _parts(fields: Mapping[str, Any]) -> list[_Part]:
    """The answers of a solution, each with the text before it."""
    found = _SOLUTION.fullmatch(fields["solution"].strip())
    if found is None:
        raise ValueError(f"no solution: {fields['solution']!r}")  # has been checked in reading
    lead, answer = found["lead"], found["answer"]
    keys = [one.get("dimension") for one in fields.get("places") or []]
    if score := _SCORE.fullmatch(answer):
        before = answer[: score.start(1)]
        return [_Part(lead + before, score[1], (keys or [None])[0] or ANSWER, True)]
    named = list(_NAMED.finditer(answer))
    if named and sum(len(one[0]) for one in named) == len(answer):
        parts, end = [], 0
        for number, one in enumerate(named):
            before = (lead if number == 0 else "") + answer[end : one.start(2)]
            key = keys[number] if number < len(keys) and keys[number] else one[1]
            parts.append(_Part(before, one[2], key, True))
            end = one.end(2)
        return parts
    return [_Part(lead, answer, (keys or [None])[0] or ANSWER, False)]


def _tail(fields: Mapping[str, Any]) -> str:
    """The text after a solution's last answer."""
    text = fields["solution"].strip()
    end = len(text) - len("</answer>")
    blank = len(text[:end]) - len(text[:end].rstrip())
    return text[end - blank :] if _parts(fields)[-1].score else text[end:]


def _given(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the line says of each of its answers."""
    count = len(_parts(fields))
    said = list(fields.get("places") or [])
    return [*said, *[{}] * (count - len(said))][:count]


class _Reading:
    """Turns lines into records and gathers what is wrong with them."""

    def __init__(self, file: Path, heard: bool, max_seconds: float, trims: bool, rate: int) -> None:
        self.file = file
        self.heard = heard
        self.max_seconds = max_seconds
        self.trims = trims
        self.rate = rate
        self.problems: list[Problem] = []

    def records(self, lines: Sequence[Line], root: Path | None, workers: int) -> list[Record]:
        """The good records, in their order."""
        good = []
        for line in lines:
            findings = list(line.findings) or _findings(line.fields or {})
            if findings:
                self.problems += [_problem(self.file, line, finding) for finding in findings]
            else:
                good.append(line)
        paths = {line.number: _path(line.fields or {}) for line in good}
        located: Mapping[str, Path | NotLocated] = {}
        if self.heard:
            located = locate_clips(
                paths.values(), jsonl=self.file, audio_root=root, workers=workers
            )
        records = []
        for line in good:
            try:
                records.append(
                    self._record(line, located.get(paths[line.number], Path(paths[line.number])))
                )
            except UnreadableClipError as error:
                finding = Finding("prompt", error.reason, error.fix)
                self.problems.append(_problem(self.file, line, finding))
        return records

    def _record(self, line: Line, place: Path | NotLocated) -> Record:
        fields = line.fields or {}
        clip, seconds = self._clip(fields, place) if self.heard else (Path(str(place)), 0.0)
        identity = fields.get("id")
        ratings = {}
        for part, more in zip(_parts(fields), _given(fields), strict=True):
            own = part.written
            value = float(own) if part.score else float((more.get("options") or [own]).index(own))
            given = more.get("ratings")
            ratings[part.key] = tuple(given) if given else (value,)
        return Record(
            id=identity if isinstance(identity, str) else f"{self.file.name}:{line.number}",
            file=self.file,
            line=line.number,
            clip=clip,
            seconds=seconds,
            fields=fields,
            ratings=ratings,
        )

    def _clip(self, fields: Mapping[str, Any], place: Path | NotLocated) -> tuple[Path, float]:
        if isinstance(place, Path):
            clip, seconds = place, read_header(place).seconds
        elif isinstance(fields.get("audio"), list):
            clip, seconds = INLINE, len(fields["audio"]) / self.rate
        else:
            raise UnreadableClipError(INLINE, place.problem, place.fix)
        if seconds < MIN_SECONDS:
            raise UnreadableClipError(
                clip, f"lasts {seconds:.3g} s, too short to be heard", "leave it out"
            )
        if seconds > self.max_seconds and not self.trims:
            fix = "cut the clip, or hear only its beginning with task.data.on_long=trim"
            raise UnreadableClipError(
                clip, f"lasts {seconds:.2f} s, more than {self.max_seconds:g} s", fix
            )
        return clip, min(seconds, self.max_seconds)


def _path(fields: Mapping[str, Any]) -> str:
    named = audio_of(fields["prompt"])[0]
    audio = fields.get("audio")
    return named or (audio if isinstance(audio, str) else "")


def _findings(fields: Mapping[str, Any]) -> list[Finding]:
    findings = []
    prompt, solution, audio = (fields.get(key) for key in ("prompt", "solution", "audio"))
    if not isinstance(prompt, list) or not all(map(_is_message, prompt)):
        findings.append(Finding("prompt", "not a list of chat messages", _FIX))
    elif len(audio_of(prompt)) != 1:
        problem = f"{len(audio_of(prompt))} audio parts where one is expected"
        findings.append(Finding("prompt", problem, _FIX))
    if not isinstance(solution, str) or not _SOLUTION.fullmatch(solution.strip()):
        problem, fix = "not of the form <answer>4</answer>", "write the answer between the tags"
        findings.append(Finding("solution", problem, fix))
    elif not findings:
        findings += _place_findings(fields)
    numbers = isinstance(audio, list) and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in audio
    )
    if audio is not None and not numbers and not isinstance(audio, str):
        fix = "leave it out, or write a path or samples"
        findings.append(Finding("audio", "neither a path nor a list of numbers", fix))
    return findings


def _is_message(one: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(one.get("role"), str):
        return False
    content = one.get("content")
    return isinstance(content, str) or (
        isinstance(content, list) and all(isinstance(part, dict) for part in content)
    )


def _place_findings(fields: Mapping[str, Any]) -> list[Finding]:
    places = fields.get("places")
    if places is None:
        return []
    if not isinstance(places, list) or not all(isinstance(one, dict) for one in places):
        return [Finding("places", "not a list of objects", "leave it out, or see stages=[prepare]")]
    parts = _parts(fields)
    if len(places) != len(parts):
        problem = f"{len(places)} places for {len(parts)} answers in the solution"
        return [Finding("places", problem, "write one object an answer")]
    findings = []
    for part, place in zip(parts, places, strict=True):
        scale, options = place.get("scale"), place.get("options")
        if part.score and scale is not None and int(part.written) not in scale:
            problem = f"the solution's {part.written} is off the scale {scale}"
            findings.append(Finding("places", problem, "mend the scale or the solution"))
        if not part.score and options is not None and part.written not in options:
            problem = f"the solution {part.written!r} is none of the options"
            findings.append(Finding("places", problem, "add it to the options"))
        findings += _rating_findings(place.get("ratings"), scale)
    return findings


def _rating_findings(ratings: Any, scale: Any) -> list[Finding]:
    if ratings is None:
        return []
    fix = "write a list with one value a rater, null where it is missing"
    if not isinstance(ratings, list):
        return [Finding("places", "ratings that are not a list", fix)]
    wrong = [
        one
        for one in ratings
        if one is not None
        and (
            isinstance(one, bool)
            or not isinstance(one, int | float)
            or (scale and not min(scale) <= one <= max(scale))
        )
    ]
    return [Finding("places", f"ratings off the scale: {wrong[:6]}", fix)] if wrong else []


def _problem(file: Path, line: Line, finding: Finding) -> Problem:
    identity = (line.fields or {}).get("id")
    known = identity if isinstance(identity, str) else None
    return Problem(file=file, line=line.number, id=known, **finding._asdict())
