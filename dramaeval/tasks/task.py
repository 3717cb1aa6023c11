"""A task: a rubric, the context that goes with a clip, and how ratings become targets.

Prompts are rendered here and nowhere else, for training, evaluation and the API alike. A task that needs no
more than its rubric and a context template is a YAML file; one that needs more is a subclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

import numpy as np

from dramaeval.data.records import AnnotationField, Record, RecordFormat
from dramaeval.tasks.labels import LabelPolicy
from dramaeval.tasks.rubric import Dimension, Rubric, read_rubric
from dramaeval.tasks.shots import TO_JUDGE, Shots, shown_first, shown_scores

LAYOUTS = ("context_first", "criteria_first")


class Task:
    """What is asked of a judge about each record.

    Args:
        name: the task's name in results.
        rubric: the mapping of a rubric's YAML file.
        system: the system prompt.
        context: what is said about the clip, a template over the record's text fields, e.g. ``{local_scene}``.
        labels: the label policy, already instantiated.
        prompt_layout: ``context_first`` puts what a record's questions share at the front, so that it is
            computed once; ``criteria_first`` is the published order.
        dimensions: keys to ask for, in the rubric's order; None asks for all.
        shots: training examples shown before each question (see `dramaeval.tasks.shots`); they are brought by
            `show_examples` once the training records are read.
    """

    def __init__(
        self,
        *,
        name: str,
        rubric: Mapping[str, Any],
        system: str,
        context: str,
        labels: LabelPolicy,
        prompt_layout: str = "context_first",
        dimensions: Sequence[str] | None = None,
        shots: int = 0,
    ) -> None:
        self.name = name
        self.rubric: Rubric = read_rubric(rubric)
        self.system = system
        self.context = context
        self.labels = labels
        if prompt_layout not in LAYOUTS:
            raise ValueError(
                f"task.prompt_layout={prompt_layout} is not known; choose one of {', '.join(LAYOUTS)}."
            )
        self.prompt_layout = prompt_layout
        if shots < 0:
            raise ValueError(f"task.shots={shots} must be 0 or more.")
        self.shots = shots
        self._examples: Shots | None = None
        wanted = [one.key for one in self.rubric.dimensions] if dimensions is None else dimensions
        self.dimensions: tuple[Dimension, ...] = tuple(self.rubric[key] for key in wanted)
        self.text_fields = tuple(
            dict.fromkeys(name for _, name, _, _ in Formatter().parse(context) if name)
        )

    def record_format(self, *, annotated: bool = True) -> RecordFormat:
        """What a record must hold for this task."""
        return RecordFormat(
            text_fields=self.text_fields,
            annotation_fields=tuple(
                AnnotationField(name=one.annotation, low=one.scale[0], high=one.scale[-1])
                for one in self.dimensions
            ),
            annotated=annotated,
        )

    def asked(self, record: Record) -> tuple[Dimension, ...]:
        """The dimensions that a judge is asked for about this record."""
        return self.dimensions

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """One question as chat messages, up to where the answer begins."""
        examples = self.examples(record)
        parts = [self.told(record), self.rubric.criterion(dimension)]
        if self.prompt_layout == "criteria_first":
            parts.reverse()
        content = [*shown_first(self, examples), {"type": "audio", "audio_url": str(record.clip)}]
        if examples:
            parts = [TO_JUDGE, *parts, shown_scores(self, examples, dimension)]
        content.append({"type": "text", "text": "\n".join(parts)})
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": content},
        ]

    def told(self, record: Record) -> str:
        """What is said about a record's clip."""
        return self.context.format(**{name: record.fields[name] for name in self.text_fields})

    def show_examples(self, pool: Sequence[Record], seed: int) -> None:
        """Take the examples of ``shots`` from these training records.

        Raises:
            ValueError: too few of them are rated on every dimension.
        """
        self._examples = Shots(self, pool, seed)

    def examples(self, record: Record) -> tuple[Record, ...]:
        """The training examples shown before a record's questions, the same for each of them.

        Raises:
            ValueError: `show_examples` was not called, or too few examples share nothing with the record.
        """
        if not self.shots:
            return ()
        if self._examples is None:
            raise ValueError(f"task.shots={self.shots} takes examples from the training split.")
        return self._examples.of(record)

    def ratings(self, record: Record, dimension: Dimension) -> tuple[float | None, ...]:
        """The raters' values for one dimension; None is a missing one."""
        return record.ratings.get(dimension.annotation, ())

    def target(
        self, record: Record, dimension: Dimension, rng: np.random.Generator
    ) -> np.ndarray | None:
        """The label policy's distribution over the dimension's scale; None where nobody rated."""
        return self.labels(self.ratings(record, dimension), dimension.scale, rng)
