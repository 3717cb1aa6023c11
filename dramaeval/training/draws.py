"""What each step of training sees: the order of the clips, and which questions are drawn about each.

Everything is a function of (seed, epoch, record), never of what was drawn before. A run that is resumed, or
that is spread over other numbers of processes, therefore draws the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dramaeval.data.records import Record
from dramaeval.models.batch import Batch, collate
from dramaeval.models.sheets import SheetMaker
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task
from dramaeval.training.spread import row_of


class Order(torch.utils.data.Sampler[int]):
    """All records in a new order each epoch.

    The epoch lives in shared memory, so that loader workers see it change.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self.seed = seed
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch."""
        self.epoch.fill_(int(epoch))

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, int(self.epoch)])
        return iter(rng.permutation(self.count).tolist())

    def __len__(self) -> int:
        return self.count


class Draws:
    """The loader's collate function: draws questions and targets for the records of a step.

    Args:
        records: the training records.
        sheets: prepares them.
        order: tells the epoch.
        questions_per_clip: how many dimensions a clip is asked for in one step; None asks for all that have
            ratings. Over the epochs each dimension of a record comes up equally often.
        shared_prefix: see `dramaeval.models.batch.collate`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        sheets: SheetMaker,
        order: Order,
        *,
        questions_per_clip: int | None = None,
        shared_prefix: bool = True,
    ) -> None:
        self.records = records
        self.sheets = sheets
        self.order = order
        self.questions_per_clip = questions_per_clip
        self.shared_prefix = shared_prefix

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Batch]:
        """A batch from rows of the form ``{"record": index}``."""
        epoch = int(self.order.epoch)
        made = []
        for row in rows:
            at = row_of(int(row["record"]))
            dimensions, targets = self.draw(at, epoch)
            made.append(self.sheets.sheet(self.records[at], dimensions, targets))
        batch = collate(made, pad=self.sheets.pad, shared_prefix=self.shared_prefix)
        counts = all(int(row["record"]) >= 0 for row in rows)
        return {"batch": batch if counts else replace(batch, counts=False)}

    def draw(self, at: int, epoch: int) -> tuple[list[Dimension], list[np.ndarray]]:
        """The dimensions asked about a record in an epoch, and their targets."""
        return draw(
            self.sheets.task,
            self.records[at],
            (self.order.seed, epoch, at),
            questions_per_clip=self.questions_per_clip,
        )


def draw(
    task: Task, record: Record, key: tuple[int, int, int], *, questions_per_clip: int | None = None
) -> tuple[list[Dimension], list[np.ndarray]]:
    """The dimensions asked about a record, and their targets.

    Args:
        task: what can be asked.
        record: about what.
        key: seed, epoch and the record's number; what is drawn is a function of them.
        questions_per_clip: see `Draws`.
    """
    seed, epoch, at = key
    rated = trainable(task, record)
    if questions_per_clip is not None and questions_per_clip < len(rated):
        # A fixed shuffle per record, walked through from epoch to epoch, meets each equally often.
        count = questions_per_clip
        walk = np.random.default_rng([seed, at]).permutation(len(rated))
        taken = walk[(np.arange(count) + epoch * count) % len(rated)]
        rated = [rated[one] for one in sorted(taken)]
    rng = np.random.default_rng([seed, epoch, at])
    targets = [task.target(record, dimension, rng) for dimension in rated]
    return rated, [target for target in targets if target is not None]


def trainable(task: Task, record: Record) -> list[Dimension]:
    """The dimensions of a record that somebody rated."""
    return [
        dimension
        for dimension in task.asked(record)
        if any(value is not None for value in task.ratings(record, dimension))
    ]
