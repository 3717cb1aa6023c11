"""Divides the clips of an optimizer step over processes and accumulated batches.

A step has the next ``per_device × accumulation × processes`` clips in the order of the epoch; no clip is repeated to
fill a batch. The last step of an epoch may have fewer clips. If a step has fewer clips than processes, the other
processes get a *filler*: a record that passes through the model, because all processes must run the same passes, and
that does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from dramaeval.config.batch_size import StepSize


class Order(Protocol):
    """The order of the records in an epoch; see `dramaeval.training.question_sampler.EpochOrder`."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch."""

    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...


class EpochBatchSampler(torch.utils.data.Sampler[list[int]]):
    """Yields the batches of one process in an epoch, as numbers of records; fillers have negative numbers.

    Args:
        order: the order of the records.
    """

    def __init__(self, order: Order) -> None:
        self.order = order

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the order; the trainer calls this."""
        self.order.set_epoch(epoch)


class StepBatchSampler(EpochBatchSampler):
    """Yields batches of a fixed number of clips.

    Args:
        order: the order of the records.
        step: the size of an optimizer step.
        rank: rank of this process.
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
    """Divide the records of one step into lists for each accumulated batch and process: ``[batch][process]``."""
    pieces = [
        list(map(int, piece)) or [filler(records[0])]
        for piece in np.array_split(records, _accumulated(len(records), step) * step.processes)
    ]
    starts = range(0, len(pieces), step.processes)
    return [pieces[start : start + step.processes] for start in starts]


def _accumulated(records: int, step: StepSize) -> int:
    return -(-records // (step.per_device * step.processes))


def filler(record: int) -> int:
    """The negative number of a filler, which repeats this record."""
    return -1 - record


def record_of(number: int) -> int:
    """The record with this number, or of the filler with this number."""
    return number if number >= 0 else -1 - number
