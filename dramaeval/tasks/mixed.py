"""Several tasks in one training; each is asked, labelled and evaluated as by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.tasks.labels import distribution
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension, Rubric
from dramaeval.tasks.task import Target, Task


class MixedTask(Task):
    """Tasks by name. A record says in `Record.part` whose it is; dimension keys become ``task/key``.

    Args:
        name: the name of the mixture.
        tasks: the tasks, already built.
        weights: of each task: its share of an epoch's clips, relative to the others'. An epoch has as many
            clips as there are records; tasks with more records than their share go through them over several
            epochs, others repeat theirs, and within a task every record comes up equally often. None takes
            every record once an epoch.
    """

    one_at_a_time = False

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
        for key in sorted({*tasks, *(weights or {})}):
            if weights is None:
                continue
            if key not in weights:
                problems.append(f"task.weights.{key} is missing: every task needs a weight")
            elif key not in tasks:
                problems.append(f"task.weights.{key}: there is no such task ({', '.join(tasks)})")
            elif not weights[key] > 0:
                problems.append(f"task.weights.{key}={weights[key]} must be above 0")
        if problems:
            raise ValueError("; ".join(problems) + ".")
        self.tasks = dict(tasks)
        self.weights = weights
        self._own: dict[str, tuple[str, Dimension]] = {}
        dimensions = []
        for part, task in self.tasks.items():
            for one in task.dimensions:
                dimensions.append(self._renamed(part, one))
        versions = ", ".join(f"{one.rubric.name} {one.rubric.version}" for one in tasks.values())
        rubric = Rubric(name=name, version=versions, dimensions=tuple(dimensions))
        super().__init__(name=name, rubric=rubric, system="", context="", labels=distribution)

    def _renamed(self, part: str, dimension: Dimension) -> Dimension:
        key = f"{part}/{dimension.key}"
        self._own[key] = (part, dimension)
        return replace(dimension, key=key, title=f"{dimension.title} ({part})")

    @property
    def parts(self) -> Mapping[str, Task]:
        """See `Task.parts`."""
        return self.tasks

    @property
    def rated(self) -> tuple[Dimension, ...]:
        """See `Task.rated`."""
        kept = {f"{part}/{one.key}" for part, task in self.tasks.items() for one in task.rated}
        return tuple(one for one in self.dimensions if one.key in kept)

    def of(self, record: Record) -> Task:
        """The task that a record belongs to."""
        return self.tasks[str(record.part)]

    def mixture(self, records: Sequence[Record]) -> list[tuple[list[int], float]] | None:
        """See `Task.mixture`."""
        if self.weights is None:
            return None
        found: dict[str, list[int]] = {part: [] for part in self.tasks}
        for at, record in enumerate(records):
            found[str(record.part)].append(at)
        return [(rows, self.weights[part]) for part, rows in found.items() if rows]

    def learn(self, records: Sequence[Record]) -> None:
        """See `Task.learn`."""
        for part, task in self.tasks.items():
            task.learn([one for one in records if one.part == part])

    def remarks(self, records: Sequence[Record]) -> dict[str, int]:
        """See `Task.remarks`."""
        return {
            f"{said} ({part})": count
            for part, task in self.tasks.items()
            for said, count in task.remarks([one for one in records if one.part == part]).items()
        }

    def scoring(self) -> dict[str, Any]:
        """See `Task.scoring`."""
        return {part: task.scoring() for part, task in self.tasks.items() if task.scoring()}

    def writes(self, record: Record) -> int:
        """See `Task.writes`."""
        return self.of(record).writes(record)

    def category(self, record: Record) -> str | None:
        """See `Task.category`."""
        return self.of(record).category(record)

    def asked(self, record: Record) -> tuple[Dimension, ...]:
        """See `Task.asked`."""
        own = self.of(record).asked(record)
        by_key = {one.key: one for one in self.dimensions}
        return tuple(by_key[f"{record.part}/{one.key}"] for one in own)

    def questions(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        rng: np.random.Generator | None = None,
    ) -> list[Question]:
        """See `Task.questions`."""
        by_key = {self._own[one.key][1].key: one for one in dimensions}
        own = self.of(record).questions(record, [self._own[one.key][1] for one in dimensions], rng)
        return [
            replace(
                question,
                key=(str(record.part), *question.key),
                places=tuple(
                    replace(place, dimension=by_key[place.dimension.key])
                    for place in question.places
                ),
            )
            for question in own
        ]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """See `Task.messages`."""
        return self.of(record).messages(record, self._own[dimension.key][1])

    def ratings(self, record: Record, dimension: Dimension) -> tuple[float | None, ...]:
        """See `Task.ratings`."""
        return self.of(record).ratings(record, self._own[dimension.key][1])

    def target(
        self, record: Record, dimension: Dimension, rng: np.random.Generator
    ) -> np.ndarray | None:
        """See `Task.target`."""
        return self.of(record).target(record, self._own[dimension.key][1], rng)

    def targets(
        self, record: Record, dimensions: Sequence[Dimension], rng: np.random.Generator
    ) -> dict[str, Target]:
        """See `Task.targets`."""
        own = [self._own[one.key][1] for one in dimensions]
        found = self.of(record).targets(record, own, rng)
        return {f"{record.part}/{key}": target for key, target in found.items()}
