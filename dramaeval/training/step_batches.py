"""The order of the records in an epoch, and the batches of one process in it.

A step has the next ``per_device × accumulation × processes`` clips in the order of the epoch; no clip is repeated to
fill a batch. The last step of an epoch may have fewer clips. If a step has fewer clips than processes, the other
processes get a *filler*: a record that passes through the model, because all processes must run the same passes, and
that does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from dramaeval.config.batch_size import StepSize
from dramaeval.data.records import Record
from dramaeval.tasks.task import Task


class EpochOrder(torch.utils.data.Sampler[int]):
    """Yields the records in a new order in each epoch, which is a function of (seed, epoch).

    In a mixture a record may occur several times in an epoch. Its numbers then also count its occurrences, see `row`.

    The epoch is in shared memory, so that the workers of the data loader read its new value.

    Args:
        count: number of records.
        seed: seed of the order.
        mixture: groups of records with their shares of an epoch, see `dramaeval.tasks.task.Task.mixture`; with None,
            an epoch has every record once.
    """

    def __init__(
        self, count: int, seed: int, mixture: Sequence[tuple[list[int], float]] | None = None
    ) -> None:
        self.count = count
        self.seed = seed
        self.mixture = mixture
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @classmethod
    def of_records(cls, records: Sequence[Record], task: Task, seed: int) -> EpochOrder:
        """Make the order of the records of a task."""
        return cls(len(records), seed, task.mixture(records))

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the trainer calls this at the start of each epoch."""
        self.epoch.fill_(int(epoch))

    def row(self, number: int) -> dict[str, int]:
        """The record (negative for a filler) with a number of an epoch, and the epoch in which its questions are sampled.

        In a mixture, this ``epoch`` is the number of earlier visits to the record; otherwise these are equal.
        """
        if self.mixture is None:
            return {"record": number, "epoch": int(self.epoch)}
        visit, record = divmod(record_of(number), self.count)
        return {"record": record if number >= 0 else filler(record), "epoch": visit}

    def __iter__(self) -> Iterator[int]:
        epoch = int(self.epoch)
        rng = np.random.default_rng([self.seed, epoch])
        records = self.count if self.mixture is None else self.mixed(self.mixture, epoch)
        return iter(rng.permutation(records).tolist())

    def mixed(self, mixture: Sequence[tuple[list[int], float]], epoch: int) -> list[int]:
        """The records of an epoch of a mixture, group by group, as numbers for `row`.

        Each group has an endless sequence of shuffles of its records, and an epoch continues at the end of the previous
        epoch, so that all records of a group occur equally often.
        """
        shares = apportion(self.count, [weight for _, weight in mixture])
        mixed: list[int] = []
        for group, ((records, _), share) in enumerate(zip(mixture, shares, strict=True)):
            turn, begin = divmod(epoch * share, len(records))
            shuffled: list[int] = []
            while len(shuffled) < begin + share:
                rng = np.random.default_rng([self.seed, group, turn, 3])
                # The shuffle with the number ``turn`` has the visit of this number to each record.
                shuffled += (rng.permutation(records) + self.count * turn).tolist()
                turn += 1
            mixed += shuffled[begin : begin + share]
        return mixed

    def __len__(self) -> int:
        return self.count


def apportion(count: int, weights: Sequence[float]) -> list[int]:
    """Divide ``count`` by weights into whole numbers by the largest remainders (Hamilton's method).

    The numbers sum to ``count``. If ``count`` suffices, each is at least 1: a number that would be 0 takes 1 from the
    largest.
    """
    exact = count * np.asarray(weights, dtype=np.float64) / sum(weights)
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    while shares.min() < 1 < shares.max():
        shares[shares.argmax()] -= 1
        shares[shares.argmin()] += 1
    return [int(share) for share in shares]


class EpochBatchSampler(torch.utils.data.Sampler[list[int]]):
    """Yields the batches of one process in an epoch, as numbers of `EpochOrder`; fillers have negative numbers.

    Args:
        order: the order of the records.
    """

    def __init__(self, order: EpochOrder) -> None:
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

    def __init__(self, order: EpochOrder, step: StepSize, rank: int) -> None:
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


def filler(number: int) -> int:
    """The negative number of a filler, which repeats the record with this number."""
    return -1 - number


def record_of(number: int) -> int:
    """The record with this number, or of the filler with this number."""
    return number if number >= 0 else -1 - number
