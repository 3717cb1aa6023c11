"""Batches of clips of like length, as many as fit a budget of tokens (`batch.max_tokens`).

Records are sorted into classes of like size, and the sorted row of classes is cut once into batches that stay
within the budget whichever of a class's records they hold. Each epoch shuffles the records within their
classes and the batches among themselves. So the number of batches never changes, an epoch is a function of
(seed, epoch) alone, and a resumed training finds its place by counting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dramaeval.config.batch_size import BatchError
from dramaeval.data.logmel import ClipFeatures
from dramaeval.data.records import Record
from dramaeval.models.inputs.collation import layout_sizes
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Target
from dramaeval.training.question_sampler import EpochOrder
from dramaeval.training.step_batches import stand_in

#: A class holds sizes up to this much apart; it bounds the padding that is due to lengths.
_CLASS = 1.06
_FRAMES_A_SECOND = 100


@dataclass(frozen=True)
class Size:
    """The largest row or rows that a record's questions can take up: a prefix and equally wide branches.

    In the plain layout the prefix is 0 and a branch is a row.
    """

    prefix: int
    branches: int
    width: int

    @property
    def tokens(self) -> int:
        """Positions that are computed, padding between the record's own questions included."""
        return self.prefix + self.branches * self.width

    def padded(self, other: Size) -> Size:
        """What both take up when they share a batch."""
        return Size(
            max(self.prefix, other.prefix),
            max(self.branches, other.branches),
            max(self.width, other.width),
        )


def size_of(
    record: Record,
    record_encoder: RecordEncoder,
    draw: Callable[[Record], tuple[list[Dimension], Mapping[str, Target]]],
    *,
    questions_per_clip: int | None,
    shared_prefix: bool,
) -> Size:
    """A record's size, whichever of its questions are drawn.

    The clip is not decoded: its length is that of its header. Where wordings are drawn anew each epoch, those
    of ``draw`` stand for all.

    Args:
        record: what is sized.
        record_encoder: tokenises its questions.
        draw: gives all its rated dimensions and their targets.
        questions_per_clip: how many of them a step takes; None takes all.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
    """
    dimensions, targets = draw(record)
    clip = None
    if record_encoder.family.takes_audio:
        # A frame more than the header says: resampling may round up.
        frames = math.ceil(record.seconds * _FRAMES_A_SECOND) + 1
        clip = ClipFeatures(np.empty((0, 0), dtype=np.float32), frames, 0.0)
    asked = record_encoder.encode_with_clip(record, clip, dimensions, targets).questions
    rows, shared, longest = layout_sizes(asked)
    if questions_per_clip is not None:
        rows = min(rows, questions_per_clip * -(-rows // len(asked)))
    if not shared_prefix or rows == 1:
        return Size(0, rows, longest)
    return Size(shared, rows, longest - shared)


class TokenBudgetBatches:
    """The batches of all epochs.

    Args:
        sizes: of the records.
        max_tokens: a batch's budget, padding included.
        seed: of the shuffling.

    Raises:
        BatchError: a single record is larger than the budget.
    """

    def __init__(self, sizes: Sequence[Size], max_tokens: int, seed: int) -> None:
        largest = max(size.tokens for size in sizes)
        if largest > max_tokens:
            raise BatchError(
                f"batch.max_tokens={max_tokens} is less than one clip's questions take: the largest needs "
                f"{largest:,} tokens. Set it to {largest} or more, or batch.questions_per_clip lower."
            )
        self.seed = seed
        order = sorted(range(len(sizes)), key=lambda at: (sizes[at].tokens, at))
        label = [int(math.log(sizes[at].tokens) / math.log(_CLASS)) for at in order]
        self.classes = [
            [at for at, own in zip(order, label, strict=True) if own == one]
            for one in sorted(set(label))
        ]
        bounds = []
        for members in self.classes:
            bound = sizes[members[0]]
            for at in members[1:]:
                bound = bound.padded(sizes[at])
            bounds.append(bound)
        #: How many records of the sorted row each batch takes.
        self.counts: list[int] = []
        taken, widest = 0, bounds[0]
        for members, bound in zip(self.classes, bounds, strict=True):
            for _ in members:
                together = widest.padded(bound) if taken else bound
                if taken and (taken + 1) * together.tokens > max_tokens:
                    self.counts.append(taken)
                    taken, together = 0, bound
                taken, widest = taken + 1, together
        self.counts.append(taken)

    def __len__(self) -> int:
        return len(self.counts)

    def of(self, epoch: int) -> list[list[int]]:
        """An epoch's batches, each a list of record numbers."""
        rng = np.random.default_rng([self.seed, epoch, 4])
        row = [at for members in self.classes for at in rng.permutation(members).tolist()]
        ends = np.cumsum(self.counts).tolist()
        batches = [row[end - count : end] for count, end in zip(self.counts, ends, strict=True)]
        return [batches[at] for at in rng.permutation(len(batches))]


class TokenBudgetSampler(torch.utils.data.Sampler[list[int]]):
    """One process's batches of an epoch; a process that has none left gets a stand-in.

    Args:
        packs: the batches.
        order: tells the epoch.
        rank: of this process.
        processes: that share the batches out.
    """

    def __init__(
        self, packs: TokenBudgetBatches, order: EpochOrder, rank: int, processes: int
    ) -> None:
        self.packs = packs
        self.order = order
        self.rank = rank
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Passed on to the order."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.packs.of(int(self.order.epoch))
        for start in range(0, len(batches), self.processes):
            turn = batches[start : start + self.processes]
            yield turn[self.rank] if self.rank < len(turn) else [stand_in(turn[0][0])]

    def __len__(self) -> int:
        return math.ceil(len(self.packs) / self.processes)
