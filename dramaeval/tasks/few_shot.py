"""Few-shot questions: rated training examples, with their clips, shown before what is asked.

The clips and contexts of all examples stand in front, then the clip to judge, then the criterion with the
scores that people gave the examples on it. So everything that is heard belongs to what a record's questions
share, and is computed once for all of them (see `dramaeval.models.forward.shared_prefix`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of, same_clip
from dramaeval.tasks.rubric import Dimension

if TYPE_CHECKING:
    from dramaeval.tasks.task import Task

#: What an example must not share with the record that is asked about; its clip is compared as well.
APART = ("character", "scene")
TO_JUDGE = "The clip to judge:"


class FewShotExamples:
    """Chooses the examples of every record: a function of the seed and of what is told about its clip.

    So clips of several systems for one prompt are judged beside the same examples.

    Args:
        task: says how many, and what an example must be rated on.
        pool: the training records.
        seed: of the choice.

    Raises:
        ValueError: too few of the pool are rated on every dimension.
    """

    def __init__(self, task: Task, pool: Sequence[Record], seed: int) -> None:
        self.count = task.shots
        self._told = task.told
        self.seed = seed
        self.pool = [one for one in pool if _rated_on_all(task, one)]
        self._groups = [{group_of(one, key) for key in APART} - {None} for one in self.pool]
        self._chosen: dict[tuple[str, int, str], tuple[Record, ...]] = {}
        if len(self.pool) < self.count:
            raise ValueError(
                f"task.shots={self.count}, but {len(self.pool)} of {len(pool)} training records are rated on "
                "every dimension: lower it, or give more training records (task.data.train=…)."
            )

    def of(self, record: Record) -> tuple[Record, ...]:
        """The examples of a record; none shares its character, its scene or its clip.

        Raises:
            ValueError: there are too few such examples.
        """
        key = (str(record.file), record.line, record.id)
        if key not in self._chosen:
            self._chosen[key] = self._choose(record)
        return self._chosen[key]

    def _choose(self, record: Record) -> tuple[Record, ...]:
        rng = np.random.default_rng([self.seed, zlib.crc32(self._told(record).encode())])
        own = {group_of(record, key) for key in APART} - {None}
        found: list[Record] = []
        for at in rng.permutation(len(self.pool)):
            example = self.pool[at]
            if not self._groups[at] & own and not same_clip(example, record):
                found.append(example)
            if len(found) == self.count:
                return tuple(found)
        raise ValueError(
            f"task.shots={self.count}, but only {len(found)} training records share neither character, scene "
            f"nor clip with {record.id} ({record.file.name}, line {record.line}): lower it."
        )


def shown_first(task: Task, examples: Sequence[Record]) -> list[dict[str, Any]]:
    """The examples' clips and contexts, as parts of a chat message."""
    parts: list[dict[str, Any]] = []
    for number, example in enumerate(examples, 1):
        text = f"Example {number}:\n{task.told(example)}\n"
        parts.append({"type": "audio", "audio_url": str(example.clip)})
        parts.append({"type": "text", "text": text})
    return parts


def shown_scores(task: Task, examples: Sequence[Record], dimension: Dimension) -> str:
    """What people gave the examples on a dimension, in the form in which the judge is to answer.

    That is the score nearest to the mean rating; halfway goes up.
    """
    told = [
        f"example {number} <answer>{_score(task, example, dimension)}</answer>"
        for number, example in enumerate(examples, 1)
    ]
    return f"People gave {', '.join(told)}."


def _rated_on_all(task: Task, record: Record) -> bool:
    """Whether a record is asked for every dimension and somebody rated it on each."""
    asked = task.asked(record)
    return len(asked) == len(task.dimensions) and all(
        any(value is not None for value in task.ratings(record, dimension)) for dimension in asked
    )


def _score(task: Task, example: Record, dimension: Dimension) -> int:
    given = [value for value in task.ratings(example, dimension) if value is not None]
    mean = sum(given) / len(given)
    return min(reversed(dimension.scale), key=lambda score: abs(score - mean))
