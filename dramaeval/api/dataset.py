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

#: What `dataset_name` of a record says, and which task that is.
_NAMES = {"ROLE": "role", "Arche": "archetype"}
#: Dimensions whose ratings noise would make wrong.
_ABOUT_SOUND = ("audio_quality",)
#: As long as Qwen2-Audio hears.
MAX_SECONDS = 30.0


class AudioDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """One question a record: a dimension and a rater's value, drawn anew each epoch.

    Each item holds ``prompt`` (chat messages, the user's with an audio part), ``solution``
    (``<answer>4</answer>``) and ``audio`` (float32 ``[samples]`` at ``sample_rate``). What is drawn is a
    function of seed, epoch and index, whoever asks in whatever order; `set_epoch` goes on to the next. Over the
    epochs each rated dimension of a record comes up equally often; missing ratings are never drawn.

    Args:
        data_file: JSONL of realism or archetype records, or of processed lines with ``prompt`` and
            ``solution``; which of them it is the file's first line shows.
        sample_rate: of ``audio``, in Hz.
        is_perturb: change gain, speed and noise a little, anew each epoch (see `dramaeval.api.perturb`).
        seed: of everything that is drawn.
        task: what is asked, instead of the task with its defaults that the records show.
        audio_root: folder in which clips are looked up after the JSONL's own.

    Raises:
        BadRecordsError: with everything that is wrong with the file.
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
        # Shared, so that loader workers see it change.
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
            read = processed.read(
                self.data_file,
                audio_root=root,
                max_seconds=MAX_SECONDS,
                sample_rate=self.sample_rate,
            )
            return processed, read.records
        task = task or _task_of(first)
        result = read_records(
            self.data_file, task.record_format(), audio_root=root, max_seconds=MAX_SECONDS
        )
        kept = [record for record in result.records if trainable_dimensions(task, record)]
        if len(kept) < len(result.records):
            log.warning(
                "%d of %d records of %s have no rating of what is asked and are left out.",
                len(result.records) - len(kept),
                len(result.records),
                self.data_file,
            )
        return task, kept

    def __len__(self) -> int:
        return len(self.records)

    def set_epoch(self, epoch: int) -> None:
        """Draw what belongs to this epoch."""
        self._epoch.fill_(int(epoch))

    def __getitem__(self, index: int) -> dict[str, Any]:
        at = range(len(self.records))[index]
        _, target = self.draw_question(at, int(self._epoch))
        question = self.question(at, int(self._epoch))
        return {
            "prompt": question.messages,
            "solution": question.solution((int(np.argmax(target)),)),
            "audio": self.waveform(at, int(self._epoch)),
        }

    def draw_question(self, at: int, epoch: int) -> tuple[Dimension, np.ndarray]:
        """The dimension that is asked for about a record in an epoch, and the drawn rater's value.

        Returns:
            the dimension, and a distribution over its scale ``[scores]``.
        """
        key = (self.seed, epoch, at)
        dimensions, targets = sample_questions(
            self.task, self.records[at], key, questions_per_clip=1
        )
        return dimensions[0], targets[dimensions[0].key].distribution

    def question(self, at: int, epoch: int) -> Question:
        """The question about a record in an epoch, worded as the task words it in training."""
        dimension, _ = self.draw_question(at, epoch)
        rng = np.random.default_rng([self.seed, epoch, at, 2])
        return self.task.questions(self.records[at], [dimension], rng)[0]

    def waveform(self, at: int, epoch: int) -> np.ndarray:
        """A record's clip, float32 ``[samples]``, perturbed where that was asked for.

        Raises:
            UnreadableClipError: its samples cannot be decoded.
        """
        record = self.records[at]
        wave = inline_audio(record)
        if wave is None:
            wave = decode(record.clip, self.sample_rate, max_seconds=MAX_SECONDS)
        if not self.is_perturb:
            return wave
        dimension, _ = self.draw_question(at, epoch)
        # A stream of its own: the question stays the same with and without perturbation.
        rng = np.random.default_rng([self.seed, epoch, at, 1])
        noise = dimension.key not in _ABOUT_SOUND
        return perturb(wave, self.sample_rate, rng, noise=noise, max_seconds=MAX_SECONDS)


def _task_of(fields: Mapping[str, Any]) -> Task:
    """The task that a record belongs to, one rater's value as the label."""
    by_text = "archetype" if "question" in fields and "local_scene" not in fields else "role"
    name = _NAMES.get(str(fields.get("dataset_name")), by_text)
    return build_task(compose(f"task={name}", "task.labels=sample"))
