"""The clips of an optimizer step, dealt out to processes and accumulated batches.

A step always holds the same clips, the next ``per_device × accumulation × processes`` of the epoch's order,
however many processes deal with them; no clip is seen twice to make a number round. The last step of an epoch
may be short. Where it has fewer clips than processes, the rest of the processes get a stand-in, which goes
through the model, because processes must move in step, and counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from dramaeval.training.batch_size import StepSize


class Epoch(Protocol):
    """The order of an epoch's rows; see `dramaeval.training.question_sampler.EpochOrder`."""

    def set_epoch(self, epoch: int) -> None:
        """Go on to another epoch."""

    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...


class StepBatchSampler(torch.utils.data.Sampler[list[int]]):
    """One process's batches of an epoch, as lists of row numbers; see `stand_in` for negative ones.

    Args:
        order: the epoch's rows in their order.
        step: clips of a step.
        rank: of this process.
    """

    def __init__(self, order: Epoch, step: StepSize, rank: int) -> None:
        self.order = order
        self.step = step
        self.rank = rank

    def set_epoch(self, epoch: int) -> None:
        """Passed on to the order."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        rows = list(self.order)
        for start in range(0, len(rows), self.step.clips):
            for pieces in split_step(rows[start : start + self.step.clips], self.step):
                yield pieces[self.rank]

    def __len__(self) -> int:
        whole, rest = divmod(len(self.order), self.step.clips)
        return whole * self.step.accumulation + _turns(rest, self.step)


def split_step(rows: Sequence[int], step: StepSize) -> list[list[list[int]]]:
    """Deal the rows of one step out: ``[accumulated batch][process]`` to a list of rows."""
    turns = _turns(len(rows), step)
    pieces = [list(map(int, piece)) for piece in np.array_split(rows, turns * step.processes)]
    pieces = [piece or [stand_in(rows[0])] for piece in pieces]
    return [pieces[at : at + step.processes] for at in range(0, len(pieces), step.processes)]


def _turns(rows: int, step: StepSize) -> int:
    return -(-rows // (step.per_device * step.processes))


def stand_in(row: int) -> int:
    """The number under which a row goes through the model without counting."""
    return -1 - row


def row_of(number: int) -> int:
    """The row that a number means."""
    return number if number >= 0 else -1 - number
