"""Batches of clips of similar length, with as many clips as fit into a budget of tokens (`batch.max_tokens`).

Records are sorted into size classes. The sorted sequence of classes is divided once into batches that stay within the
budget for any order of the records in a class. Each epoch shuffles the records within their classes, and then the
batches. The number of batches is therefore constant, an epoch is a function of (seed, epoch), and a resumed training
continues after the number of batches that it has used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import reduce
from itertools import groupby

import numpy as np

from dramaeval.config.batch_size import BatchError
from dramaeval.data.logmel import FRAMES_PER_SECOND
from dramaeval.data.records import Record
from dramaeval.models.inputs.collation import layout_sizes
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.listeners import with_longest_line
from dramaeval.tasks.question import Question, Target
from dramaeval.tasks.task import Task
from dramaeval.tasks.variation import VariationTask
from dramaeval.training.question_sampler import trainable_dimensions
from dramaeval.training.step_batches import EpochBatchSampler, EpochOrder, filler

#: Largest ratio of two sizes in a class; it limits the padding.
_CLASS = 1.06


@dataclass(frozen=True)
class Size:
    """The largest row that the questions about a record can need: a prefix and branches of equal width, in tokens.

    Without a shared prefix, ``prefix`` is 0 and each branch is a row. A pair has a row for each clip.
    """

    prefix: int
    branches: int
    width: int
    rows: int = 1

    @property
    def tokens(self) -> int:
        """The number of computed positions, with the padding between the questions about the record."""
        return self.rows * (self.prefix + self.branches * self.width)

    def padded(self, other: Size) -> Size:
        """The size of both records if two records share a batch."""
        return Size(*map(max, astuple(self), astuple(other)))


def size_of(
    record: Record,
    record_encoder: RecordEncoder,
    questions: Sequence[Question],
    targets: Mapping[str, Target],
    *,
    questions_per_clip: int | None,
    shared_prefix: bool,
    stretch: float = 1.0,
) -> Size:
    """The size of a record, for any sample of ``questions_per_clip`` of its questions.

    The length of the clip comes from its header, without decoding.

    Args:
        record: the record.
        record_encoder: tokenises the questions.
        questions: the questions of training about all rated dimensions of the record, see `longest_questions`.
        targets: a sample of their targets, by the key of the dimension.
        questions_per_clip: number of dimensions in a step; None takes all.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
        stretch: largest ratio of a changed clip's length to the original length.
    """
    clips = {}
    if record_encoder.family.takes_audio:
        for path, seconds in record.prompt_clips.items():
            # Resampling may round up, so that there may be one frame more than by the header.
            frames = math.ceil(seconds * stretch * FRAMES_PER_SECOND) + 1
            clips[path] = record_encoder.unread(frames)
    encoded = record_encoder.encode_with_clips(record, clips, questions, targets)
    sizes = []
    for part in encoded.parts:
        rows, shared, longest = layout_sizes(part.questions, shared_prefix=shared_prefix)
        if questions_per_clip is not None:
            rows = min(rows, questions_per_clip * -(-rows // len(part.questions)))
        plain = not shared_prefix or rows == 1
        sizes.append(Size(0, rows, longest) if plain else Size(shared, rows, longest - shared))
    return replace(reduce(Size.padded, sizes), rows=len(sizes))


def longest_questions(
    task: Task, record: Record, rng: np.random.Generator, length: Callable[[str], int]
) -> tuple[list[Question], dict[str, Target]]:
    """The longest questions of training about a record, and their targets by key.

    They have the longest wording and the listener with the longest line. They are about all rated dimensions, of which a
    task may sample some in each epoch (`AllDimensionsTask` with ``rater=consistent``).

    Args:
        task: the task.
        record: the record.
        rng: samples the targets.
        length: the number of tokens of a text.
    """
    if isinstance(task, VariationTask):
        task = task.in_longest_wording(length)
    if task.has_listeners:
        fields = [dimension.annotation for dimension in task.dimensions]
        record = with_longest_line(record, fields, task.rubric, length)
    dimensions = trainable_dimensions(task, record)
    targets = {
        dimension.key: Target(distribution)
        for dimension in dimensions
        if (distribution := task.target(record, dimension, rng)) is not None
    } | task.targets(record, dimensions, rng)
    dimensions = [dimension for dimension in dimensions if dimension.key in targets]
    return task.questions(record, dimensions, rng), targets


class TokenBudgetBatches:
    """Makes the batches of all epochs.

    Args:
        sizes: the sizes of the records.
        max_tokens: the budget of a batch, with padding.
        seed: seed of the shuffling.

    Raises:
        BatchError: a single record exceeds the budget.
    """

    def __init__(self, sizes: Sequence[Size], max_tokens: int, seed: int) -> None:
        #: The tokens of the largest record, which the budget has to hold.
        self.largest = max(size.tokens for size in sizes)
        if self.largest > max_tokens:
            raise BatchError(
                f"batch.max_tokens={max_tokens} is less than one clip's questions take: the largest needs "
                f"{self.largest:,} tokens. Set it to {self.largest} or more, or batch.questions_per_clip lower."
            )
        self.seed = seed
        self.sizes = sizes
        numbers = sorted(range(len(sizes)), key=lambda number: (sizes[number].tokens, number))
        self.classes = [
            list(members)
            for _, members in groupby(
                numbers, lambda number: int(math.log(sizes[number].tokens) / math.log(_CLASS))
            )
        ]
        #: The number of records in each batch, along the sorted sequence.
        self.counts: list[int] = []
        count, widest = 0, sizes[numbers[0]]
        for members in self.classes:
            bound = reduce(Size.padded, (sizes[number] for number in members))
            for _ in members:
                widened = widest.padded(bound) if count else bound
                if count and (count + 1) * widened.tokens > max_tokens:
                    self.counts.append(count)
                    count, widened = 0, bound
                count, widest = count + 1, widened
        self.counts.append(count)

    def __len__(self) -> int:
        return len(self.counts)

    def of(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, each a list of record numbers."""
        rng = np.random.default_rng([self.seed, epoch, 4])
        shuffled = [number for members in self.classes for number in rng.permutation(members)]
        batches = np.split(np.asarray(shuffled), np.cumsum(self.counts)[:-1])
        return [batches[number].tolist() for number in rng.permutation(len(batches))]


class TokenBudgetSampler(EpochBatchSampler):
    """Yields the batches of one process in an epoch; a process without a batch in a turn gets a filler.

    Args:
        batches: the batches of all processes.
        order: has the current epoch.
        rank: rank of this process.
        processes: number of processes.
    """

    def __init__(
        self, batches: TokenBudgetBatches, order: EpochOrder, rank: int, processes: int
    ) -> None:
        super().__init__(order)
        self.batches = batches
        self.rank = rank
        self.processes = processes

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.batches.of(int(self.order.epoch))
        for start in range(0, len(batches), self.processes):
            turn = batches[start : start + self.processes]
            yield turn[self.rank] if self.rank < len(turn) else [filler(turn[0][0])]

    def __len__(self) -> int:
        return math.ceil(len(self.batches) / self.processes)
