"""Few-shot examples: rated training records, with their clips, before the question.

A prompt has the clips and contexts of all examples, then the clip to judge, then the criterion with the scores of the
examples on it. All audio is therefore in the prefix that the questions about a record share, and is encoded only once
(see `dramaeval.models.forward.shared_prefix`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of, same_clip
from dramaeval.data.turns import NONE
from dramaeval.tasks.reference import uses_reference
from dramaeval.tasks.rubric import Dimension, Rubric

#: Keys whose values must differ between an example and the judged record; the bytes of the clips are compared too.
APART = ("character", "scene")
TO_JUDGE = "The clip to judge:"


class FewShotExamples:
    """Chooses the examples of each record by the seed and the record's context.

    Clips of several systems for one prompt have the same context and therefore the same examples.

    Args:
        pool: at least ``count`` training records that are rated on every dimension.
        count: number of examples per record.
        seed: seed of the choice.
        context: returns the context of a record's clip.
    """

    def __init__(
        self, pool: Sequence[Record], count: int, seed: int, context: Callable[[Record], str]
    ) -> None:
        self.pool = pool
        self.count = count
        self.seed = seed
        self._context = context
        self._groups = [_groups(record) for record in pool]
        self._chosen: dict[tuple[str, int, str], tuple[Record, ...]] = {}

    def of(self, record: Record) -> tuple[Record, ...]:
        """The examples of a record; they have another character, another scene and another clip.

        Raises:
            ValueError: the pool has too few such examples.
        """
        key = (str(record.file), record.line, record.id)
        if key not in self._chosen:
            self._chosen[key] = self._choose(record)
        return self._chosen[key]

    def _choose(self, record: Record) -> tuple[Record, ...]:
        rng = np.random.default_rng([self.seed, zlib.crc32(self._context(record).encode())])
        groups = _groups(record)
        chosen: list[Record] = []
        for index in rng.permutation(len(self.pool)):
            example = self.pool[index]
            if not self._groups[index] & groups and not same_clip(example, record):
                chosen.append(example)
            if len(chosen) == self.count:
                return tuple(chosen)
        raise ValueError(
            f"task.shots={self.count}, but only {len(chosen)} training records share neither character, scene "
            f"nor clip with {record.id} ({record.file.name}, line {record.line}): lower it."
        )


def check_shots(shots: int, task: str, rubric: Rubric, turns: str, *, one_dimension: bool) -> None:
    """Check ``task.shots``.

    Args:
        shots: number of examples before each question.
        task: name of the task.
        rubric: rubric of the task.
        turns: the turns in prompts, one of `dramaeval.data.turns.MODES`.
        one_dimension: whether each question asks for one dimension.

    Raises:
        ValueError: the questions of the task cannot have examples.
    """
    if shots < 0:
        raise ValueError(f"task.shots={shots} must be 0 or more.")
    if shots and not one_dimension:
        raise ValueError(
            f"task.shots={shots}: {task} does not ask for one dimension at a time, so that examples have "
            "no place in its questions. Set task.shots=0, or use task=role, archetype or role_variation."
        )
    if shots and uses_reference(rubric.dimensions):
        raise ValueError(
            f"task.shots={shots}: the rubric {rubric.name} has dimensions with a reference, and examples beside "
            "references have no place in a prompt. Set task.shots=0."
        )
    if shots and turns != NONE:
        raise ValueError(
            f"task.shots={shots}: an example would stand between the turns of the conversation (task.turns={turns}) and "
            "the clip that answers them. Set task.shots=0, or task.turns=none."
        )


def _groups(record: Record) -> set[str | None]:
    return {group_of(record, key) for key in APART} - {None}


def example_content(
    examples: Sequence[Record], context: Callable[[Record], str]
) -> list[dict[str, Any]]:
    """The clips and contexts of examples, as parts of a chat message."""
    parts: list[dict[str, Any]] = []
    for number, example in enumerate(examples, 1):
        text = f"Example {number}:\n{context(example)}\n"
        parts.append({"type": "audio", "audio_url": str(example.clip)})
        parts.append({"type": "text", "text": text})
    return parts


def example_scores(ratings: Sequence[Sequence[float]], dimension: Dimension) -> str:
    """A sentence with the score of each example on one dimension, in the format of the judge's answers.

    Args:
        ratings: the raters' values for each example, at least one and without missing ones.
        dimension: the dimension. The written score is the nearest to the mean rating; halfway goes up.
    """
    scores = []
    for number, values in enumerate(ratings, 1):
        mean = sum(values) / len(values)
        pairs = reversed(list(zip(dimension.scale, dimension.answers, strict=True)))
        _, answer = min(pairs, key=lambda pair: abs(pair[0] - mean))
        scores.append(f"example {number} <answer>{answer}</answer>")
    return f"People gave {', '.join(scores)}."
