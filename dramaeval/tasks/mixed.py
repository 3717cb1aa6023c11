"""Several tasks that are trained together; questions, labels and evaluation are separate for each task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from dramaeval.data.raters import RaterInfo
from dramaeval.data.records import Record
from dramaeval.tasks.labels import distribution
from dramaeval.tasks.question import Question, Target
from dramaeval.tasks.rubric import Dimension, Rubric
from dramaeval.tasks.task import Task


class MixedTask(Task):
    """Tasks by name. `Record.part` is the name of a record's task; dimension keys become ``task/key``.

    Args:
        name: name of the mixture.
        tasks: the tasks by name.
        weights: relative share of each task in the clips of an epoch. The number of clips in an epoch is the number of
            records. A task with more records than its share uses them over several epochs, and a task with fewer
            records repeats them; within a task every record is used equally often. None uses every record once per
            epoch.
    """

    one_dimension_per_question = False

    def __init__(
        self,
        *,
        name: str,
        tasks: Mapping[str, Task],
        weights: Mapping[str, float] | None = None,
    ) -> None:
        problems = [] if tasks else ["task.tasks is empty: name at least one task"]
        problems += [
            f"task.tasks.{key}: a task's name must be of letters, digits and underscores and not begin with a "
            "digit; it names the task's files and keys"
            for key in tasks
            if not str(key).isidentifier()
        ]
        problems += _weight_problems(weights, tasks) if weights is not None else []
        if problems:
            raise ValueError("; ".join(problems) + ".")
        self.parts = dict(tasks)
        self.weights = weights
        #: The name of the task and its dimension, by the dimension key of the mixture.
        self._own: dict[str, tuple[str, Dimension]] = {
            f"{part}/{dimension.key}": (part, dimension)
            for part, task in self.parts.items()
            for dimension in task.dimensions
        }
        dimensions = tuple(
            replace(dimension, key=key, title=f"{dimension.title} ({part})")
            for key, (part, dimension) in self._own.items()
        )
        versions = ", ".join(f"{t.rubric.name} {t.rubric.version}" for t in tasks.values())
        rubric = Rubric(name=name, version=versions, dimensions=dimensions)
        super().__init__(name=name, rubric=rubric, system="", context="", labels=distribution)

    @property
    def rated_dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions with a scale, of all tasks."""
        keys = {
            f"{part}/{d.key}" for part, task in self.parts.items() for d in task.rated_dimensions
        }
        return tuple(dimension for dimension in self.dimensions if dimension.key in keys)

    def of(self, record: Record) -> Task:
        """The task that a record belongs to."""
        return self.parts[str(record.part)]

    def mixture(self, records: Sequence[Record]) -> list[tuple[list[int], float]] | None:
        """The records of each task and its weight; None without weights."""
        if self.weights is None:
            return None
        indices: dict[str, list[int]] = {part: [] for part in self.parts}
        for index, record in enumerate(records):
            indices[str(record.part)].append(index)
        return [(rows, self.weights[part]) for part, rows in indices.items() if rows]

    def learn(self, records: Sequence[Record]) -> None:
        """Fit the label policy of each task to the records of the task."""
        for part, task in self.parts.items():
            task.learn(_of_part(records, part))

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """The remarks of each task, with its name."""
        return {
            f"{remark} ({part})": count
            for part, task in self.parts.items()
            for remark, count in task.remarks(_of_part(records, part)).items()
        }

    def training_record(self, record: Record, rng: Generator) -> Record:
        """See `Task.training_record`, for the record's task."""
        return self.of(record).training_record(record, rng)

    def scoring(self) -> dict[str, Any]:
        """The scoring settings of each task that has any."""
        return {part: task.scoring() for part, task in self.parts.items() if task.scoring()}

    def max_written_tokens(self, record: Record) -> int:
        """See `Task.max_written_tokens`, for the record's task."""
        return self.of(record).max_written_tokens(record)

    def texts(self, record: Record) -> dict[str, str]:
        """See `Task.texts`, for the record's task."""
        return self.of(record).texts(record)

    def prompts(self, record: Record) -> dict[str, str]:
        """See `Task.prompts`, for the record's task."""
        return self.of(record).prompts(record)

    def wording_texts(self) -> dict[str, list[str]]:
        """See `Task.wording_texts`, for all tasks."""
        return {
            setting.replace("task.", f"task.tasks.{part}.", 1): texts
            for part, task in self.parts.items()
            for setting, texts in task.wording_texts().items()
        }

    def category(self, record: Record) -> str | None:
        """The record's category in its task."""
        return self.of(record).category(record)

    def dimensions_for(self, record: Record) -> tuple[Dimension, ...]:
        """The dimensions on which the record's task scores it."""
        keys = {
            f"{record.part}/{dimension.key}" for dimension in self.of(record).dimensions_for(record)
        }
        return tuple(dimension for dimension in self.dimensions if dimension.key in keys)

    def questions(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator | None = None
    ) -> list[Question]:
        """The questions of the record's task, with the dimensions of the mixture."""
        by_key = {self._own[d.key][1].key: d for d in dimensions}
        return [
            replace(
                question,
                key=(str(record.part), *question.key),
                answer_fields=tuple(
                    replace(field, dimension=by_key[field.dimension.key])
                    for field in question.answer_fields
                ),
            )
            for question in self.of(record).questions(record, self._of_task(dimensions), rng)
        ]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """The question of the record's task as chat messages."""
        return self.of(record).messages(record, self._own[dimension.key][1])

    def ratings(self, record: Record, dimension: Dimension) -> tuple[float | None, ...]:
        """See `Task.ratings`, for the record's task."""
        return self.of(record).ratings(record, self._own[dimension.key][1])

    def rater_info(self, record: Record, dimension: Dimension) -> RaterInfo:
        """See `Task.rater_info`, for the record's task."""
        return self.of(record).rater_info(record, self._own[dimension.key][1])

    def target(self, record: Record, dimension: Dimension, rng: Generator) -> np.ndarray | None:
        """See `Task.target`, for the record's task."""
        return self.of(record).target(record, self._own[dimension.key][1], rng)

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: Generator
    ) -> dict[str, Target]:
        """The targets of the record's task, by the dimension keys of the mixture."""
        targets = self.of(record).targets(record, self._of_task(dimensions), rng)
        return {f"{record.part}/{key}": target for key, target in targets.items()}

    def _of_task(self, dimensions: Sequence[Dimension]) -> list[Dimension]:
        return [self._own[dimension.key][1] for dimension in dimensions]


def _of_part(records: Sequence[Record], part: str) -> list[Record]:
    return [record for record in records if record.part == part]


def _weight_problems(weights: Mapping[str, float], tasks: Mapping[str, Task]) -> list[str]:
    problems = []
    for key in sorted({*tasks, *weights}):
        if key not in weights:
            problems.append(f"task.weights.{key} is missing: every task needs a weight")
        elif key not in tasks:
            problems.append(f"task.weights.{key}: there is no such task ({', '.join(tasks)})")
        elif not 0 < weights[key] < math.inf:
            problems.append(f"task.weights.{key}={weights[key]} must be above 0 and finite")
    return problems
