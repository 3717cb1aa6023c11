"""The clips of an optimizer step, divided over processes and accumulated batches.

A step always holds the next ``per_device × accumulation × processes`` clips of the epoch's order, for any number of
processes; no clip is repeated to fill a batch. The last step of an epoch may be short. Where a step has fewer clips
than processes, the other processes get a *filler*: a record that passes through the model, because processes must
run in step, and does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from dramaeval.config.batch_size import StepSize


class Order(Protocol):
    """The order of an epoch's records; see `dramaeval.training.question_sampler.EpochOrder`."""

    def set_epoch(self, epoch: int) -> None:
        """Change to another epoch."""

    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...


class EpochBatchSampler(torch.utils.data.Sampler[list[int]]):
    """One process's batches of an epoch, as numbers of records; those of fillers are negative.

    Args:
        order: the epoch's records.
    """

    def __init__(self, order: Order) -> None:
        self.order = order

    def set_epoch(self, epoch: int) -> None:
        """Change the order's epoch; the trainer calls this."""
        self.order.set_epoch(epoch)


class StepBatchSampler(EpochBatchSampler):
    """Batches of a fixed number of clips.

    Args:
        order: the epoch's records.
        step: the size of an optimizer step.
        rank: of this process.
    """

    def __init__(self, order: Order, step: StepSize, rank: int) -> None:
        super().__init__(order)
        self.step = step
        self.rank = rank

    def __iter__(self) -> Iterator[list[int]]:
        records = list(self.order)
        for start in range(0, len(records), self.step.clips):
            for pieces in split_step(records[start : start + self.step.clips], self.step):
                yield pieces[self.rank]

    def __len__(self) -> int:
        full, rest = divmod(len(self.order), self.step.clips)
        return full * self.step.accumulation + _accumulated(rest, self.step)


def split_step(records: Sequence[int], step: StepSize) -> list[list[list[int]]]:
    """Divide the records of one step: ``[accumulated batch][process]`` to a list of records."""
    pieces = [
        list(map(int, piece)) or [filler(records[0])]
        for piece in np.array_split(records, _accumulated(len(records), step) * step.processes)
    ]
    starts = range(0, len(pieces), step.processes)
    return [pieces[start : start + step.processes] for start in starts]


def _accumulated(records: int, step: StepSize) -> int:
    return -(-records // (step.per_device * step.processes))


def filler(record: int) -> int:
    """The number under which a record passes through the model without counting."""
    return -1 - record


def record_of(number: int) -> int:
    """The record of a number, a filler's included."""
    return number if number >= 0 else -1 - number
