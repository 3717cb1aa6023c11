"""The questions of training, sampled for each record and epoch.

Every sample is a function of (seed, epoch, record) and does not depend on earlier samples. A run that resumes, or that
has another number of processes, therefore samples the same questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dramaeval.data.augmentation import Augmentation
from dramaeval.data.records import Record
from dramaeval.errors import UserFacingError
from dramaeval.models.inputs.collation import Batch, EncodedRecord, collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.inputs.windows import Windows
from dramaeval.tasks.question import Question, Target
from dramaeval.tasks.rubric import Dimension, changed_kinds
from dramaeval.tasks.task import Task
from dramaeval.training.step_batches import record_of


@dataclass(frozen=True)
class SampledQuestions:
    """The questions of one step about a record.

    Attributes:
        record: the record.
        questions: one or more questions.
        targets: the targets by the label policy, by dimension key.
        encoded: the record's clips, and the questions with their targets as tokens.
    """

    record: Record
    questions: tuple[Question, ...]
    targets: Mapping[str, Target]
    encoded: EncodedRecord


#: Takes the number of a record and an epoch; returns the questions.
Sampler = Callable[[int, int], SampledQuestions]


class QuestionSampler:
    """Samples the questions and the targets of training records.

    Args:
        records: the training records.
        record_encoder: prepares the records.
        seed: seed of the samples.
        questions_per_clip: number of dimensions of a record in one step; None takes all rated dimensions. Over the
            epochs, each dimension of a record occurs equally often.
        one_prompt: sample only one question (for a pair whose clips are scored singly, one about each clip). It has all
            dimensions of the record in tasks that ask for all dimensions in one answer, and otherwise one dimension.
        augment: strength of the changes of training clips, see `dramaeval.data.augmentation`. Changes that a dimension
            of the questions varies with are left out.
    """

    def __init__(
        self,
        records: Sequence[Record],
        record_encoder: RecordEncoder,
        seed: int,
        *,
        questions_per_clip: int | None = None,
        one_prompt: bool = False,
        augment: str = "none",
    ) -> None:
        self.augment = augment
        self.records = records
        self.record_encoder = record_encoder
        self.seed = seed
        self.questions_per_clip = questions_per_clip
        self.one_prompt = one_prompt

    def __call__(self, number: int, epoch: int) -> SampledQuestions:
        """Sample the questions of a record in an epoch."""
        task, key = self.record_encoder.task, (self.seed, epoch, number)
        record = training_record(task, self.records[number], key)
        count = self.questions_per_clip
        if self.one_prompt:
            part = task.parts.get(str(record.part), task)  # in a mixture, the task of the record
            count = 1 if part.one_dimension_per_question else None
        dimensions, targets = sample_questions(task, record, key, questions_per_clip=count)
        # The random stream is separate, so that the wording of a question does not change its target.
        questions = task.questions(record, dimensions, np.random.default_rng([*key, 2]))
        if self.one_prompt:
            questions = questions[: task.prompts_per_record]
        if self.augment == "none" or not self.record_encoder.family.takes_audio:
            encoded = self.record_encoder.encode(record, questions, targets)
        else:
            clips = self._changed_clips(number, epoch, dimensions)
            encoded = self.record_encoder.encode_with_clips(record, clips, questions, targets)
        return SampledQuestions(record, tuple(questions), targets, encoded)

    def _changed_clips(
        self, number: int, epoch: int, dimensions: Sequence[Dimension]
    ) -> dict[Path, Windows]:
        """The changed clips of a record in an epoch; they are not cached, because their features have no key."""
        encoder = self.record_encoder
        augmentation = Augmentation(self.augment, changed_kinds(dimensions), encoder.max_seconds)
        # The random stream is separate, so that the changes of a clip do not change its questions.
        rng = np.random.default_rng([self.seed, epoch, number, 1])
        rate = encoder.logmel.sampling_rate
        changed: dict[Path, Windows] = {}
        for record in self.records[number].single_clips():
            waveform = augmentation.waveform(encoder.waveform(record), rate, rng)
            windows = encoder.features(waveform)
            if encoder.logmel.has_mel_bins:
                windows = tuple(augmentation.features(window, rng) for window in windows)
            changed[record.clip] = windows
        return changed


class TrainingCollator:
    """The collate function of the loader: samples the questions about a step's records and encodes them.

    Args:
        sampler: gives the questions of a record in an epoch.
        pad: the padding token.
        shared_prefix: see `dramaeval.models.inputs.collation.collate`.
    """

    def __init__(self, sampler: Sampler, *, pad: int, shared_prefix: bool = True) -> None:
        self.sampler = sampler
        self.pad = pad
        self.shared_prefix = shared_prefix

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Make a batch from rows of the form ``{"record": number, "epoch": 0}``; fillers have negative numbers.

        A worker of the loader returns an error that the user can fix as ``error``, for `batch_in`: PyTorch would create
        the error anew from the text of its traceback.
        """
        try:
            return {"batch": self._batch(rows)}
        except UserFacingError as error:
            if torch.utils.data.get_worker_info() is None:
                raise
            return {"error": error}

    def _batch(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        numbers = [int(row["record"]) for row in rows]
        epochs = [int(row.get("epoch", 0)) for row in rows]
        sampled = map(self.sampler, map(record_of, numbers), epochs)
        encoded = [questions.encoded for questions in sampled]
        batch = collate(encoded, pad=self.pad, shared_prefix=self.shared_prefix)
        return replace(batch, is_stand_in=min(numbers) < 0)


def batch_in(collated: Mapping[str, Any]) -> Batch:
    """The batch that a `TrainingCollator` made; raises the error of a worker."""
    if "error" in collated:
        raise collated["error"]
    batch: Batch = collated["batch"]
    return batch


def training_record(task: Task, record: Record, key: tuple[int, int, int]) -> Record:
    """The variant of a record that an epoch uses (`Task.training_record`); ``key`` as in `sample_questions`."""
    return task.training_record(record, np.random.default_rng([*key, 5]))


def sample_questions(
    task: Task, record: Record, key: tuple[int, int, int], *, questions_per_clip: int | None = None
) -> tuple[list[Dimension], dict[str, Target]]:
    """Sample the dimensions of the questions about a record, and their targets by key.

    Args:
        task: the task.
        record: the record.
        key: seed, epoch and the record's number, which determine the sample.
        questions_per_clip: see `QuestionSampler`.
    """
    seed, epoch, number = key
    dimensions = trainable_dimensions(task, record)
    if questions_per_clip is not None and questions_per_clip < len(dimensions):
        # The epochs go through one shuffle per record, so that each dimension occurs equally often.
        shuffle = np.random.default_rng([seed, number]).permutation(len(dimensions))
        positions = np.arange(questions_per_clip) + epoch * questions_per_clip
        dimensions = [dimensions[index] for index in sorted(shuffle[positions % len(dimensions)])]
    targets = task.targets(record, dimensions, np.random.default_rng([seed, epoch, number]))
    return [dimension for dimension in dimensions if dimension.key in targets], targets


def unrated_dimensions(task: Task, records: Sequence[Record]) -> list[str]:
    """The keys of the dimensions that a task asks about, but that have no rating in any record."""
    asked = [dimension.key for record in records for dimension in task.dimensions_for(record)]
    rated = {
        dimension.key for record in records for dimension in trainable_dimensions(task, record)
    }
    return [key for key in dict.fromkeys(asked) if key not in rated]


def trainable_dimensions(task: Task, record: Record) -> list[Dimension]:
    """The dimensions of a record that have a rating."""
    return [
        dimension
        for dimension in task.dimensions_for(record)
        if any(value is not None for value in task.ratings(record, dimension))
    ]
