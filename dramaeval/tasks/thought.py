"""Answers that begin with a thought, ``<think>…</think>``: what is heard, said in words, before the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

SCORING = ("generate", "given", "skip")


class ThoughtTask(Task):
    """A task whose answers hold a text of the record before the score.

    In training the thought is part of the answer, and its tokens are trained. A record without one is asked
    without it, and counted.

    Args:
        thought: where the record has the text, e.g. ``audio_info.audio_caption``.
        thought_in_scoring: ``generate`` lets the judge write its own thought first (greedily, so that it is the
            same every time; one that does not end leaves the question unscored, with the reason), ``given``
            takes the record's, ``skip`` scores without any.
        thought_tokens: the longest thought that is generated.
        kwargs: see `Task`.
    """

    def __init__(
        self,
        *,
        thought: str,
        thought_in_scoring: str = "generate",
        thought_tokens: int = 96,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if thought_in_scoring not in SCORING:
            raise ValueError(
                f"task.thought_in_scoring={thought_in_scoring} is not known; choose one of "
                f"{', '.join(SCORING)}."
            )
        if thought_tokens < 1:
            raise ValueError(f"task.thought_tokens={thought_tokens} must be 1 or more.")
        self.thought = thought
        self.thought_in_scoring = thought_in_scoring
        self.thought_tokens = thought_tokens

    def scoring(self) -> dict[str, Any]:
        """See `Task.scoring`."""
        return {"thought": self.thought, "thought_in_scoring": self.thought_in_scoring}

    def writes(self, record: Record) -> int:
        """See `Task.writes`."""
        return self.thought_tokens if self.thought_in_scoring == "generate" else 0

    def thought_of(self, record: Record) -> str | None:
        """The record's text, stripped; None where it has none."""
        value: Any = record.fields
        for key in self.thought.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return (value.strip() or None) if isinstance(value, str) else None

    @property
    def takes_thought(self) -> bool:
        """Whether scoring needs the record's own thought."""
        return self.thought_in_scoring == "given"

    def with_thought(self, fields: Mapping[str, Any], text: str) -> dict[str, Any]:
        """A record's fields with a thought where this task looks for it."""
        found: dict[str, Any] = {**fields}
        *outer, last = self.thought.split(".")
        place = found
        for key in outer:
            place[key] = {**(place.get(key) or {})}
            place = place[key]
        place[last] = text
        return found

    def questions(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        rng: np.random.Generator | None = None,
    ) -> list[Question]:
        """See `Task.questions`."""
        asked = super().questions(record, dimensions, rng)
        if rng is None and self.thought_in_scoring == "skip":
            return asked
        if rng is None and self.thought_in_scoring == "generate":
            return [replace(one, thinks=True) for one in asked]
        text = self.thought_of(record)
        return asked if text is None else [one.after(text) for one in asked]

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """See `Task.remarks`: the records without a thought."""
        without = sum(self.thought_of(record) is None for record in records)
        return (
            {f"have no {self.thought} and are asked without a thought": without} if without else {}
        )
