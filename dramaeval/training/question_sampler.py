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
from dramaeval.models.inputs.collation import Batch, collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Target, Task
from dramaeval.training.step_batches import row_of


class EpochOrder(torch.utils.data.Sampler[int]):
    """All records in a new order each epoch.

    The epoch lives in shared memory, so that loader workers see it change.

    Args:
        count: of records.
        seed: of the order.
        mixture: groups of records with their shares of an epoch, see `dramaeval.tasks.task.Task.mixture`; None
            takes every record once an epoch.
    """

    def __init__(
        self, count: int, seed: int, mixture: Sequence[tuple[list[int], float]] | None = None
    ) -> None:
        self.count = count
        self.seed = seed
        self.mixture = mixture
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._walks: dict[tuple[int, int], np.ndarray] = {}

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each epoch."""
        self.epoch.fill_(int(epoch))

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, int(self.epoch)])
        if self.mixture is None:
            return iter(rng.permutation(self.count).tolist())
        return iter(rng.permutation(self.mixed(int(self.epoch))).tolist())

    def mixed(self, epoch: int) -> list[int]:
        """The records of an epoch of a mixture, group by group.

        Each group is a walk through one shuffle of its records after another, taken up where the epoch before
        left it, so that all of a group come up equally often.
        """
        groups = self.mixture or []
        shares = shared_out(self.count, [weight for _, weight in groups])
        found: list[int] = []
        for number, ((rows, _), share) in enumerate(zip(groups, shares, strict=True)):
            for place in range(epoch * share, (epoch + 1) * share):
                turn, at = divmod(place, len(rows))
                walk = self._walk(number, turn, len(rows))
                found.append(rows[walk[at]])
        return found

    def _walk(self, group: int, turn: int, count: int) -> np.ndarray:
        if (group, turn) not in self._walks:
            self._walks = {key: walk for key, walk in self._walks.items() if key[0] != group}
            rng = np.random.default_rng([self.seed, group, turn, 3])
            self._walks[group, turn] = rng.permutation(count)
        return self._walks[group, turn]

    def __len__(self) -> int:
        return self.count


def shared_out(count: int, weights: Sequence[float]) -> list[int]:
    """``count`` shared out by weights in whole numbers, the largest remainders rounded up (Hamilton's method).

    Every share is at least 1.
    """
    exact = count * np.asarray(weights, dtype=np.float64) / sum(weights)
    shares = np.floor(exact).astype(int)
    for at in np.argsort(shares - exact, kind="stable")[: count - shares.sum()]:
        shares[at] += 1
    return [max(1, int(one)) for one in shares]


class TrainingCollator:
    """The loader's collate function: draws questions and targets for the records of a step.

    Args:
        records: the training records.
        record_encoder: prepares them.
        order: tells the epoch.
        questions_per_clip: how many dimensions a clip is asked for in one step; None asks for all that have
            ratings. Over the epochs each dimension of a record comes up equally often.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        record_encoder: RecordEncoder,
        order: EpochOrder,
        *,
        questions_per_clip: int | None = None,
        shared_prefix: bool = True,
    ) -> None:
        self.records = records
        self.record_encoder = record_encoder
        self.order = order
        self.questions_per_clip = questions_per_clip
        self.shared_prefix = shared_prefix

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Batch]:
        """A batch from rows of the form ``{"record": index}``."""
        epoch = int(self.order.epoch)
        made = []
        for row in rows:
            at = row_of(int(row["record"]))
            dimensions, targets = self.sample_questions(at, epoch)
            # A stream of its own: what is asked does not change what is answered.
            rng = np.random.default_rng([self.order.seed, epoch, at, 2])
            questions = self.record_encoder.task.questions(self.records[at], dimensions, rng)
            made.append(self.record_encoder.encode(self.records[at], questions, targets))
        batch = collate(made, pad=self.record_encoder.pad, shared_prefix=self.shared_prefix)
        is_stand_in = any(int(row["record"]) < 0 for row in rows)
        return {"batch": replace(batch, is_stand_in=is_stand_in)}

    def sample_questions(self, at: int, epoch: int) -> tuple[list[Dimension], dict[str, Target]]:
        """The dimensions asked about a record in an epoch, and their targets."""
        return sample_questions(
            self.record_encoder.task,
            self.records[at],
            (self.order.seed, epoch, at),
            questions_per_clip=self.questions_per_clip,
        )


def sample_questions(
    task: Task, record: Record, key: tuple[int, int, int], *, questions_per_clip: int | None = None
) -> tuple[list[Dimension], dict[str, Target]]:
    """The dimensions asked about a record, and their targets by key.

    Args:
        task: what can be asked.
        record: about what.
        key: seed, epoch and the record's number; what is drawn is a function of them.
        questions_per_clip: see `TrainingCollator`.
    """
    seed, epoch, at = key
    rated = trainable_dimensions(task, record)
    if questions_per_clip is not None and questions_per_clip < len(rated):
        # A fixed shuffle per record, walked through from epoch to epoch, meets each equally often.
        count = questions_per_clip
        walk = np.random.default_rng([seed, at]).permutation(len(rated))
        taken = walk[(np.arange(count) + epoch * count) % len(rated)]
        rated = [rated[one] for one in sorted(taken)]
    rng = np.random.default_rng([seed, epoch, at])
    targets = task.targets(record, rated, rng)
    return [one for one in rated if one.key in targets], targets


def trainable_dimensions(task: Task, record: Record) -> list[Dimension]:
    """The dimensions of a record that somebody rated."""
    return [
        dimension
        for dimension in task.asked(record)
        if any(value is not None for value in task.ratings(record, dimension))
    ]
