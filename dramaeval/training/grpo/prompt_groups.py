"""The prompts of GRPO: one question per record and epoch (two for a pair), and the records of a generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from dramaeval.data.problems import Problem
from dramaeval.data.records import Record
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.tasks.question import Question, Target
from dramaeval.training.question_sampler import Sampler
from dramaeval.training.step_batches import EpochBatchSampler, EpochOrder

#: One row per group: the number of a record, the epoch, and the place of the question among those about the record (0 if
#: it is absent).
Rows = Sequence[Mapping[str, int]]


@dataclass(frozen=True)
class PromptGroup:
    """A question whose completions are compared with each other.

    Attributes:
        record: the record that the question is about.
        question: the question.
        targets: the targets by the label policy, by dimension key.
        encoded_record: the clip, and the question with each field of its answer as tokens.
        seed: seed of the sampled completions.
    """

    record: Record
    question: Question
    targets: Mapping[str, Target]
    encoded_record: EncodedRecord
    seed: int

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens up to the beginning of the answer, with expanded audio placeholders."""
        return self.encoded_record.questions[0].question.prompt

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The keys of the dimensions that the question is about."""
        return tuple(field.dimension.key for field in self.question.answer_fields)

    @property
    def about(self) -> tuple[str, str]:
        """The record's id and the dimensions, for messages."""
        return self.record.id, "+".join(self.dimensions)

    @property
    def answers(self) -> list[tuple[int, ...]]:
        """The tokens of every answer of the scale, with the end of the turn; only for questions with one field."""
        (labelled,) = self.encoded_record.questions
        answer = labelled.question.answer
        return [(*answer.lead, *choice, *answer.tail) for choice in answer.choice_tokens]


class PromptGroups:
    """Makes the groups of each record and epoch.

    Args:
        sampler: gives the questions of a record in an epoch.
        seed: seed of the completions.
    """

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self.sampler = sampler
        self.seed = seed
        # Generation and all passes over its completions use the same groups.
        self._cached = lru_cache(maxsize=1024)(self._build)

    def __call__(self, record: int, epoch: int, place: int = 0) -> PromptGroup:
        """The group of a record (by its number) in an epoch; ``place`` is 1 for the second question about a pair."""
        return self._cached(record, epoch, place)

    def of_pass(self, inputs: Mapping[str, torch.Tensor]) -> list[PromptGroup]:
        """The group of each completion of a pass."""
        rows = inputs["row"]
        columns = (rows, inputs["epoch"], inputs.get("place", torch.zeros_like(rows)))
        return [self(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _build(self, record: int, epoch: int, place: int) -> PromptGroup:
        sampled = self.sampler(record, epoch)
        seeds = np.random.SeedSequence([self.seed, epoch, record, 4, *([place] if place else [])])
        (seed,) = seeds.generate_state(1, np.uint64)
        return PromptGroup(
            sampled.record,
            sampled.questions[place],
            sampled.targets,
            replace(sampled.encoded.parts[place], others=()),
            int(seed >> 1),
        )


def pass_rows(rows: Rows, sizes: Sequence[int]) -> dict[str, torch.Tensor]:
    """The record (``row``), epoch and place of each completion, from the rows and the sizes of the groups."""
    repeats = torch.tensor(sizes)
    return {
        "row": torch.tensor([row["record"] for row in rows]).repeat_interleave(repeats),
        "epoch": torch.tensor([row["epoch"] for row in rows]).repeat_interleave(repeats),
        "place": torch.tensor([row.get("place", 0) for row in rows]).repeat_interleave(repeats),
    }


def number_groups(groups: Sequence[PromptGroup]) -> torch.Tensor:
    """The number of the group of each completion, from 0 without gaps, int64 ``[completions]``."""
    numbers: dict[int, int] = {}
    return torch.tensor([numbers.setdefault(id(group), len(numbers)) for group in groups])


def too_long(record: Record, length: int, completion: int, positions: int) -> Problem:
    """The problem of a prompt for which the model has too few positions."""
    return record.problem(
        "prompt",
        f"its prompt has {length} tokens, clip included, and a completion up to {completion}; the model "
        f"has {positions} positions",
        "shorten its texts, or lower trainer.args.max_completion_length; a prompt is never cut",
    )


class GenerationBatchSampler(EpochBatchSampler):
    """Yields the records of a generation together, once for each pass over them.

    All completions of a generation are sampled with the same weights. A generation has the same records for any number
    of processes. Remaining records at the end of an epoch are left out; the next epoch has another order.

    Args:
        order: the order of the records in the epoch.
        size: number of records of a generation in one process.
        passes: number of passes over a generation.
        rank: rank of this process.
        processes: number of processes.
    """

    def __init__(
        self, order: EpochOrder, size: int, passes: int, rank: int, processes: int
    ) -> None:
        super().__init__(order)
        self.size = size
        self.passes = passes
        self.rank = rank
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        records = list(self.order)
        generation = self.size * self.processes
        for start in range(0, len(records) - generation + 1, generation):
            numbers = records[start + self.rank * self.size :][: self.size]
            for _ in range(self.passes):
                yield numbers

    def __len__(self) -> int:
        return len(self.order) // (self.size * self.processes) * self.passes
