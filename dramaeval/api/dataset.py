"""Annotated speech as a PyTorch dataset of chat prompts, solutions and waveforms."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dramaeval.api.perturb import perturb
from dramaeval.config.composition import compose
from dramaeval.data.audio import decode
from dramaeval.data.jsonl import UnreadableFileError, read_lines
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record, read_records
from dramaeval.stages.builders import build_task
from dramaeval.tasks.processed import ProcessedTask, inline_audio
from dramaeval.tasks.processed_records import is_processed
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import sample_questions, trainable_dimensions

log = logging.getLogger(__name__)

#: The task of a record by its key ``dataset_name``.
_NAMES = {"ROLE": "role", "Arche": "archetype"}
#: Dimensions whose ratings are not valid after noise is added.
_CHANGED_BY_NOISE = ("audio_quality",)
#: Qwen2-Audio takes clips up to this length.
MAX_SECONDS = 30.0


class AudioDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """One question a record: a dimension and the value of one rater, sampled again in each epoch.

    Each item has ``prompt`` (chat messages, the user's with an audio part), ``solution``
    (``<answer>4</answer>``) and ``audio`` (float32 ``[samples]`` at ``sample_rate``). The sample is a function
    of seed, epoch and index, and does not depend on the order of calls; `set_epoch` sets the epoch. Over the
    epochs each rated dimension of a record is sampled equally often; missing ratings are never sampled.

    Args:
        data_file: JSONL of realism or archetype records, or of processed lines with ``prompt`` and
            ``solution``; the first line of the file decides which.
        sample_rate: of ``audio``, in Hz.
        is_perturb: perturb gain, speed and noise in each epoch (see `dramaeval.api.perturb`).
        seed: of sampling and perturbation.
        task: by default the task of the records, with its default settings.
        audio_root: folder in which clips are looked up if they are not beside the JSONL.

    Raises:
        BadRecordsError: with all problems of the file.
    """

    def __init__(
        self,
        data_file: str | os.PathLike[str],
        sample_rate: int = 16000,
        is_perturb: bool = False,
        *,
        seed: int = 0,
        task: Task | None = None,
        audio_root: str | os.PathLike[str] | None = None,
    ) -> None:
        self.data_file = Path(data_file).expanduser()
        self.sample_rate = sample_rate
        self.is_perturb = is_perturb
        self.seed = seed
        # In shared memory, so that loader workers see changes.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        root = None if audio_root is None else Path(audio_root).expanduser()
        self.task, self.records = self._read(task, root)

    def _read(self, task: Task | None, root: Path | None) -> tuple[Task, list[Record]]:
        try:
            lines = read_lines(self.data_file)
        except UnreadableFileError as error:
            problem = Problem(file=self.data_file, line=None, id=None, **error.finding._asdict())
            raise BadRecordsError([problem]) from None
        first = next((line.fields for line in lines if line.fields), {})
        if is_processed(first):
            processed = ProcessedTask()
            result = processed.read(
                self.data_file,
                audio_root=root,
                max_seconds=MAX_SECONDS,
                sample_rate=self.sample_rate,
            )
            return processed, result.records
        task = task or _task_of(first)
        annotated = read_records(
            self.data_file, task.record_format(), audio_root=root, max_seconds=MAX_SECONDS
        )
        rated = [record for record in annotated.records if trainable_dimensions(task, record)]
        if len(rated) < len(annotated.records):
            log.warning(
                "%d of %d records of %s have no rating of the task's dimensions and are left out.",
                len(annotated.records) - len(rated),
                len(annotated.records),
                self.data_file,
            )
        return task, rated

    def __len__(self) -> int:
        return len(self.records)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the items."""
        self._epoch.fill_(int(epoch))

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self.records))[index]
        _, target = self.draw(index, int(self._epoch))
        question = self.question(index, int(self._epoch))
        return {
            "prompt": question.messages,
            "solution": question.solution((int(np.argmax(target)),)),
            "audio": self.waveform(index, int(self._epoch)),
        }

    def draw(self, index: int, epoch: int) -> tuple[Dimension, np.ndarray]:
        """Sample the dimension of a record in an epoch, and the value of one rater.

        Returns:
            the dimension, and the value as a distribution over its scale ``[scores]``.
        """
        key = (self.seed, epoch, index)
        dimensions, targets = sample_questions(
            self.task, self.records[index], key, questions_per_clip=1
        )
        return dimensions[0], targets[dimensions[0].key].distribution

    def question(self, index: int, epoch: int) -> Question:
        """The question about a record in an epoch, in the wording of training."""
        dimension, _ = self.draw(index, epoch)
        rng = np.random.default_rng([self.seed, epoch, index, 2])
        return self.task.questions(self.records[index], [dimension], rng)[0]

    def waveform(self, index: int, epoch: int) -> np.ndarray:
        """The clip of a record, float32 ``[samples]``; perturbed if ``is_perturb``.

        Raises:
            UnreadableClipError: the clip cannot be decoded.
        """
        record = self.records[index]
        wave = inline_audio(record)
        if wave is None:
            wave = decode(record.clip, self.sample_rate, max_seconds=MAX_SECONDS)
        if not self.is_perturb:
            return wave
        dimension, _ = self.draw(index, epoch)
        # A separate stream, so that perturbation does not change the question.
        rng = np.random.default_rng([self.seed, epoch, index, 1])
        noise = dimension.key not in _CHANGED_BY_NOISE
        return perturb(wave, self.sample_rate, rng, noise=noise, max_seconds=MAX_SECONDS)


def _task_of(fields: Mapping[str, Any]) -> Task:
    """The task of a record, with the value of one rater as the label."""
    default = "archetype" if "question" in fields and "local_scene" not in fields else "role"
    name = _NAMES.get(str(fields.get("dataset_name")), default)
    return build_task(compose(f"task={name}", "task.labels=sample"))
