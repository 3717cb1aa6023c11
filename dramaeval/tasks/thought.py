"""Answers that begin with a thought, ``<think>…</think>``: a text about the clip before the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from numpy.random import Generator

from dramaeval.config.problems import require_choice
from dramaeval.data.records import Record, RecordFormat
from dramaeval.tasks.question import Question, ThoughtSampling
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

SCORING = ("generate", "given", "skip")


class ThoughtTask(Task):
    """A task whose answers have a text of the record before the score.

    In training the thought is part of the answer, and its tokens are trained. Questions about a record without
    a thought are asked without one, and such records are counted.

    Args:
        thought: key of the text in the record; nested keys are joined by dots, e.g. ``audio_info.audio_caption``.
        thought_in_scoring: with ``generate`` the judge first generates a thought, greedily, so that it is reproducible;
            if a thought does not end, the question is unscored, with the reason. ``given`` uses the record's thought,
            ``skip`` scores without a thought.
        thought_tokens: maximum number of tokens of a generated thought.
        thought_samples: number of generated thoughts about a question. 1 is the greedy thought. With more thoughts,
            they are sampled, and the distribution over the scale is the mean over the thoughts that end; if none ends,
            the question is unscored.
        thought_temperature: temperature of the sampling.
        thought_seed: seed of the sampling, separate from the run's seed, so that runs are comparable.
        kwargs: further arguments of `Task`.
    """

    def __init__(
        self,
        *,
        thought: str,
        thought_in_scoring: str = "generate",
        thought_tokens: int = 96,
        thought_samples: int = 1,
        thought_temperature: float = 1.0,
        thought_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_choice("task.thought_in_scoring", thought_in_scoring, SCORING)
        if thought_tokens < 1:
            raise ValueError(f"task.thought_tokens={thought_tokens} must be 1 or more.")
        sampling = ThoughtSampling(
            samples=thought_samples, temperature=thought_temperature, seed=thought_seed
        )
        _check_sampling(sampling, thought_in_scoring)
        self.thought = thought
        self.thought_in_scoring = thought_in_scoring
        self.thought_tokens = thought_tokens
        self.thought_sampling = sampling if thought_samples > 1 else None

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """The keys of `Task`, and the thought, which a record may lack."""
        fmt = super().record_format(annotated=annotated)
        return replace(fmt, optional_texts=(*fmt.optional_texts, self.thought))

    def scoring(self) -> dict[str, Any]:
        """The settings of the thought and of the sampling of several thoughts."""
        settings: dict[str, Any] = {
            "thought": self.thought,
            "thought_in_scoring": self.thought_in_scoring,
        }
        if self.thought_sampling is not None:
            sampling = asdict(self.thought_sampling)
            settings |= {f"thought_{name}": value for name, value in sampling.items()}
        return settings

    def max_written_tokens(self, record: Record) -> int:
        """The maximum number of tokens of a generated thought; 0 if none is generated."""
        return self.thought_tokens if self.generates else 0

    def thought_of(self, record: Record) -> str | None:
        """The record's thought without surrounding white space; None if it has none."""
        value: Any = record.fields
        for key in self.thought.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return (value.strip() or None) if isinstance(value, str) else None

    def texts(self, record: Record) -> dict[str, str]:
        """The texts of the prompts, and the thought."""
        thought = self.thought_of(record)
        return super().texts(record) | ({} if thought is None else {self.thought: thought})

    @property
    def generates(self) -> bool:
        """Whether the judge generates thoughts in scoring."""
        return self.thought_in_scoring == "generate"

    @property
    def needs_thought(self) -> bool:
        """Whether scoring uses the record's thought."""
        return self.thought_in_scoring == "given"

    def fields_with_thought(self, fields: Mapping[str, Any], text: str) -> dict[str, Any]:
        """A copy of a record's fields with a thought under the key of this task."""
        copied: dict[str, Any] = {**fields}
        *outer, last = self.thought.split(".")
        inner = copied
        for key in outer:
            inner[key] = {**(inner.get(key) or {})}
            inner = inner[key]
        inner[last] = text
        return copied

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """The questions with the record's thought, or with a thought to generate."""
        questions = super().questions(record, dimensions, rng)
        if rng is None and self.thought_in_scoring == "skip":
            return questions
        if rng is None and self.generates:
            return [
                replace(question, generates_thought=True, thought_sampling=self.thought_sampling)
                for question in questions
            ]
        text = self.thought_of(record)
        return [question.with_thought(text) for question in questions] if text else questions

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """The number of records without a thought."""
        without = sum(self.thought_of(record) is None for record in records)
        text = f"have no {self.thought} and are asked without a thought"
        return super().remarks(records) | ({text: without} if without else {})


def _check_sampling(sampling: ThoughtSampling, thought_in_scoring: str) -> None:
    """Raise ValueError for settings of sampled thoughts that are out of range or have no effect."""
    if sampling.samples < 1:
        raise ValueError(f"task.thought_samples={sampling.samples} must be 1 or more.")
    if not 0 < sampling.temperature < float("inf"):
        raise ValueError(
            f"task.thought_temperature={sampling.temperature} must be above 0; task.thought_samples=1 is greedy."
        )
    if sampling.seed < 0:
        raise ValueError(f"task.thought_seed={sampling.seed} must be 0 or more.")
    if sampling.samples > 1 and thought_in_scoring != "generate":
        raise ValueError(
            f"task.thought_samples={sampling.samples} needs task.thought_in_scoring=generate; with "
            f"{thought_in_scoring} no thought is generated."
        )
