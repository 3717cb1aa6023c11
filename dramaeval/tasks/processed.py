"""The task of processed records: it uses the prompt and the solution of each line unchanged.

`dramaeval.tasks.processed_records` describes the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from dramaeval.config.home_folder import expand_home
from dramaeval.data.jsonl import Line
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import ReadResult, Record, checked_lines
from dramaeval.data.unicode_paths import stored_path
from dramaeval.tasks.labels import sample
from dramaeval.tasks.processed_records import (
    ANSWER,
    ProcessedReader,
    prompt_text,
    solution_parts,
    written_texts,
)
from dramaeval.tasks.question import AnswerField, Question, Target
from dramaeval.tasks.rubric import Dimension, Rubric
from dramaeval.tasks.task import Task


class ProcessedTask(Task):
    """Asks the prompt of each line. The dimensions are those that the lines name, or ``answer``.

    Training uses the solution, token by token; ratings in the line are only for evaluation. A text answer
    without ``options`` is trained but cannot be scored; such lines are counted.

    Args:
        name: name of the task in results.
    """

    one_dimension_per_question = False

    def __init__(self, *, name: str = "processed") -> None:
        rubric = Rubric(name=name, version="as given", dimensions=())
        super().__init__(name=name, rubric=rubric, system="", context="", labels=sample)
        # By dimension: the scores in lines without a scale, each with the first such line; and the listed scales, with
        # the texts of the scores.
        self._written: dict[str, dict[int, Record]] = {}
        self._listed: dict[str, dict[float, str]] = {}
        self._options: set[str] = set()  # dimensions with text answers

    def read(
        self,
        file: str | Path,
        *,
        reads_audio: bool = True,
        annotated: bool = True,
        **options: Any,
    ) -> ReadResult:
        """Read and check processed records; ``sample_rate`` is the rate of audio samples in the lines."""
        return self._read(expand_home(file), reads_audio, **options)

    def _read(
        self,
        file: Path,
        reads_audio: bool,
        *,
        audio_root: str | Path | None = None,
        on_bad: str = "stop",
        max_seconds: float = 30.0,
        on_long: str = "error",
        workers: int = 8,
        sample_rate: int = 16_000,
    ) -> ReadResult:
        reader = ProcessedReader(file, reads_audio, max_seconds, on_long == "trim", sample_rate)
        root = None if audio_root is None else stored_path(audio_root)
        return self._take(reader, reader.records(checked_lines(file), root, workers), on_bad)

    def read_items(
        self, items: Iterable[tuple[int, Mapping[str, Any]]], name: Path
    ) -> list[Record]:
        """Make records from items in memory, without their clips.

        Args:
            items: the number and the keys of each item; ``audio`` is not read.
            name: name of the source, for messages.

        Raises:
            BadRecordsError: items have problems; all are listed.
        """
        reader = ProcessedReader(name, False, 0.0, False, 16_000)
        lines = [Line(number, dict(fields), []) for number, fields in items]
        return self._take(reader, reader.records(lines, None, 1), "stop").records

    def _take(self, reader: ProcessedReader, records: list[Record], on_bad: str) -> ReadResult:
        """Add the dimensions of a reader's records to the task; returns the result of reading."""
        if reader.problems and (on_bad != "skip" or not records):
            raise BadRecordsError(reader.problems)
        problems = [*reader.problems]
        for record in records:
            problems += self._add_dimensions(record)
        for key in self._written:
            problems += self._other_scores(key)
        if len(problems) > len(reader.problems):
            raise BadRecordsError(problems)
        self.dimensions = tuple(_dimension(key, self._scale(key)) for key in self._written)
        return ReadResult(records=records, skipped=reader.problems)

    def _add_dimensions(self, record: Record) -> list[Problem]:
        """Add the scores of a line to its dimensions; returns problems of contradicting scales."""
        problems = []
        for part in solution_parts(record.fields):
            written = self._written.setdefault(part.key, {})
            listed = self._listed.setdefault(part.key, {})
            if not part.score:
                self._options.add(part.key)
            elif not part.answers:
                written.setdefault(int(part.written), record)
            scale = dict(zip(part.scale, part.answers, strict=True))
            if wrong := [text for score, text in scale.items() if _differs(listed, score, text)]:
                problems.append(_two_scales(record, part.key, wrong[0]))
            else:
                listed.update(scale)
        return problems

    def _other_scores(self, key: str) -> list[Problem]:
        """Problems of lines without a scale whose score has another text on the scale in other lines."""
        listed = self._listed[key]
        return [
            _two_scales(record, key, str(score))
            for score, record in self._written[key].items()
            if _differs(listed, score, str(score))
        ]

    def _scale(self, key: str) -> dict[float, str]:
        """The listed scale; without one, 0-1 if no higher score is written, else 1-5 and all written scores."""
        written, listed = self._written[key], self._listed[key]
        scores = {*written}
        if not listed and key not in self._options:
            scores = {0, 1} if max(written) <= 1 else {*written, 1, 2, 3, 4, 5}
        scale = listed | {score: str(score) for score in scores}
        return dict(sorted(scale.items())) or {0: "0", 1: "1"}

    @property
    def rated_dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions with scores; text answers have no scale."""
        return tuple(d for d in self.dimensions if d.key not in self._options)

    def dimensions_for(self, record: Record) -> tuple[Dimension, ...]:
        """The dimensions of the line's answers."""
        by_key = {dimension.key: dimension for dimension in self.dimensions}
        return tuple(by_key[part.key] for part in solution_parts(record.fields))

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """The prompt of the line with all its answers; empty in scoring if a text answer has no options."""
        parts = solution_parts(record.fields)
        if rng is None and any(not part.score and not part.options for part in parts):
            return []
        asked = self.dimensions_for(record)
        fields = tuple(
            AnswerField.of_score(dimension, part.lead, part.tail)
            if part.score
            else AnswerField.of_options(
                dimension, tuple(part.options) or (part.written,), part.lead, part.tail
            )
            for part, dimension in zip(parts, asked, strict=True)
        )
        messages = self.messages(record, asked[0])
        return [Question(messages=messages, answer_fields=fields, key=(ANSWER,))]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """The line's prompt, unchanged."""
        return list(record.fields["prompt"])

    def texts(self, record: Record) -> dict[str, str]:
        """The line's thought, answers and options."""
        return written_texts(record.fields)

    def prompts(self, record: Record) -> dict[str, str]:
        """The line's prompt."""
        return {"prompt": prompt_text(record.fields["prompt"])}

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator
    ) -> dict[str, Target]:
        """Probability 1 for each answer of the solution."""
        (question,) = self.questions(record, dimensions, rng)
        targets = {}
        for part, field in zip(solution_parts(record.fields), question.answer_fields, strict=True):
            distribution = np.zeros(len(field.choices))
            distribution[field.choices.index(part.written)] = 1.0
            targets[part.key] = Target(distribution)
        return targets

    def target(self, record: Record, dimension: Dimension, rng: Generator) -> np.ndarray | None:
        """Probability 1 for the solution's answer."""
        return self.targets(record, [dimension], rng)[dimension.key].distribution

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """The number of records that are trained but cannot be scored."""
        count = sum(not self.questions(record, self.dimensions_for(record)) for record in records)
        return {"have a text as answer and no options, and are not scored": count} if count else {}


def _differs(scale: Mapping[float, str], score: float, text: str) -> bool:
    """Whether a scale has another text for the score, or another score for the text."""
    return (score in scale) != (text in scale.values()) or scale.get(score, text) != text


def _two_scales(record: Record, key: str, answer: str) -> Problem:
    fix = "give all lines of a dimension the same scale, or name one of the dimensions otherwise"
    return record.problem("places", f"{key}: {answer!r} is another score in other lines", fix)


def _dimension(key: str, scale: Mapping[float, str]) -> Dimension:
    return Dimension(
        key=key,
        annotation=key,
        title=key,
        scale=tuple(scale),
        description="As the prompt says.",
        scores=dict(scale),
        answers=tuple(scale.values()),
    )
