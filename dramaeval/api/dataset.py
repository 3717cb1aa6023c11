"""Rated speech as a PyTorch dataset of chat prompts, solutions and waveforms."""

from __future__ import annotations

import logging
import os
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dramaeval.config.composition import choices, compose
from dramaeval.config.home_folder import expand_home
from dramaeval.config.literal import literal, read_plain
from dramaeval.config.problems import ConfigError
from dramaeval.data.augmentation import Augmentation
from dramaeval.data.dataset_names import TASKS, lines_by_name
from dramaeval.data.import_formats import is_source
from dramaeval.data.inline_audio import clip_samples
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record, checked_lines
from dramaeval.data.turns import AUDIO
from dramaeval.importing.direct import Converted
from dramaeval.stages.builders import build_mixture, build_task, check_listeners
from dramaeval.stages.converted_sources import converted_source, with_importer
from dramaeval.tasks.processed import ProcessedTask
from dramaeval.tasks.processed_records import is_processed
from dramaeval.tasks.question import Question, Target
from dramaeval.tasks.reference import uses_reference
from dramaeval.tasks.rubric import Dimension, changed_kinds
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import (
    sample_questions,
    trainable_dimensions,
    training_record,
)

log = logging.getLogger(__name__)

#: The longest clip that Qwen2-Audio accepts, in seconds.
MAX_SECONDS = 30.0


class AudioDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """One question per record: a dimension and the value of one rater, sampled again in each epoch.

    The key ``dataset_name`` of a record selects its task (see `dramaeval.data.dataset_names`); if a file has several
    names, the tasks are mixed. Without the key, records with options are ``AVQA``, records with a ``question`` and
    without ``local_scene`` are ``Arche``, and other records are ``ROLE``.

    Each item has ``prompt`` (chat messages; the user's message has an audio part), ``solution``
    (``<answer>4</answer>``) and ``audio`` (float32 ``[samples]`` at ``sample_rate``). The item is a function of seed,
    epoch and index, and does not depend on the order of calls; `set_epoch` sets the epoch. Over the epochs each rated
    dimension of a record is sampled equally often; missing ratings are never sampled.

    Args:
        data_file: JSONL of records, or of processed lines with ``prompt`` and ``solution``; the first line of the
            file decides which. A table, a Parquet file, a tar archive, a folder or ``hf:OWNER/NAME`` is converted
            once, as for ``task.data.train``.
        sample_rate: sampling rate of ``audio``, in Hz.
        is_perturb: perturb gain, speed and noise in each epoch (see `dramaeval.data.augmentation`, strength light).
        seed: seed of sampling and perturbation.
        task: a task for all records, which then ignore ``dataset_name``; None: each record's task with default settings.
        rubric: a rubric that replaces the one of the records' task: a name in ``configs/task/rubric/``, or a YAML file of
            the same form.
        audio_root: folder in which clips are looked up after the folder of the JSONL file.
        importer: settings ``importer.*`` of a source in another format, such as ``{"decimal": "comma"}``.
        split: the split to read, if the source has splits.

    Raises:
        BadRecordsError: lists all problems of the file.
        ConfigError: ``importer`` or the rubric is not valid.
        ValueError: the task compares two clips; ``rubric`` is given with ``task``, or for records of several tasks.
    """

    def __init__(
        self,
        data_file: str | os.PathLike[str],
        sample_rate: int = 16000,
        is_perturb: bool = False,
        *,
        seed: int = 0,
        task: Task | None = None,
        rubric: str | os.PathLike[str] | None = None,
        audio_root: str | os.PathLike[str] | None = None,
        importer: Mapping[str, Any] | None = None,
        split: str = "train",
    ) -> None:
        if task is not None and rubric is not None:
            raise ValueError("task has its own rubric: leave out task or rubric.")
        self._rubric = rubric
        self.sample_rate = sample_rate
        self.is_perturb = is_perturb
        self.seed = seed
        # The epoch is in shared memory, so that workers of a data loader see changes.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        root = None if audio_root is None else expand_home(audio_root)
        converted = _converted(os.fspath(data_file), split, root, importer)
        if converted is None:
            self.data_file = expand_home(data_file)
            self.task, self.records = self._read(task, root)
            return
        self.data_file = converted.file_of(split)
        try:
            self.task, self.records = self._read(task, root)
        except BadRecordsError as error:
            raise converted.in_terms_of_source(error) from None

    def _read(self, task: Task | None, root: Path | None) -> tuple[Task, list[Record]]:
        lines = checked_lines(self.data_file)
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
        if task is not None:
            return task, self._rated(task, root)
        by_name = lines_by_name(lines, self.data_file)
        if self._rubric is not None and len(by_name) > 1:
            raise ValueError(
                f"rubric is for records of one task, and {self.data_file} has {', '.join(by_name)}."
            )
        tasks = {name: _task_of(name, self._rubric) for name in by_name or ("ROLE",)}
        if len(tasks) == 1:
            (task,) = tasks.values()
            return task, self._rated(task, root)
        return self._mixed(tasks, by_name, root)

    def _mixed(
        self, tasks: Mapping[str, Task], by_name: Mapping[str, list[int]], root: Path | None
    ) -> tuple[Task, list[Record]]:
        """The mixture of the tasks of several data sets in one file, and the records."""
        unnamed = {line.number for line in checked_lines(self.data_file) if line.fields is None}
        records: list[Record] = []
        problems: list[Problem] = []
        for name, task in tasks.items():
            try:
                rated = self._rated(task, root, lines={*by_name[name], *unnamed})
                records += [replace(record, part=name) for record in rated]
            except BadRecordsError as error:
                problems += error.problems
            unnamed = set()  # problems of lines without a name are reported once
        if problems:
            raise BadRecordsError(problems)
        return build_mixture(tasks), sorted(records, key=lambda record: record.line)

    def _rated(
        self, task: Task, root: Path | None, lines: Container[int] | None = None
    ) -> list[Record]:
        """The records that have a rating."""
        # A task class of the user may not have the argument `lines`.
        options: dict[str, Any] = {} if lines is None else {"lines": lines}
        result = task.read(self.data_file, audio_root=root, max_seconds=MAX_SECONDS, **options)
        if any(record.clip_b is not None for record in result.records):
            raise ValueError(
                f"task={task.name} compares two clips, and an item of AudioDataset has one: train on pairs with "
                "python launch.py task=pair."
            )
        if task.turns == AUDIO or uses_reference(task.dimensions):
            raise ValueError(
                f"task={task.name} has the clips of turns, or a reference, in its prompts, and an item of AudioDataset has "
                "one clip: set task.turns=text, leave out dimensions with reference: true, or train with python launch.py."
            )
        rated = [record for record in result.records if trainable_dimensions(task, record)]
        check_listeners(task, rated)
        if len(rated) < len(result.records):
            log.warning(
                "%d of %d records of %s have no rating of the task's dimensions and are left out.",
                len(result.records) - len(rated),
                len(result.records),
                self.data_file,
            )
        return rated

    def __len__(self) -> int:
        return len(self.records)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose items are returned."""
        self._epoch.fill_(int(epoch))

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self.records))[index]
        _, targets = self.draw(index, int(self._epoch))
        question = self.question(index, int(self._epoch))
        answers = (targets[field.dimension.key] for field in question.answer_fields)
        return {
            "prompt": question.messages,
            "solution": question.solution(tuple(map(_answer, answers))),
            "audio": self.waveform(index, int(self._epoch)),
        }

    def draw(self, index: int, epoch: int) -> tuple[list[Dimension], dict[str, Target]]:
        """Sample the dimension of a record in an epoch, and the value of one rater.

        Returns:
            the dimension, or all dimensions if the task asks for them in one question; and the targets by dimension key.
        """
        record = self.record(index, epoch)
        task = self.task.parts.get(str(record.part), self.task)
        count = 1 if task.one_dimension_per_question else None
        return sample_questions(
            self.task, record, (self.seed, epoch, index), questions_per_clip=count
        )

    def question(self, index: int, epoch: int) -> Question:
        """The question about a record in an epoch, with the wording for training."""
        dimensions, _ = self.draw(index, epoch)
        rng = np.random.default_rng([self.seed, epoch, index, 2])
        return self.task.questions(self.record(index, epoch), dimensions, rng)[0]

    def record(self, index: int, epoch: int) -> Record:
        """A record with the ratings that an epoch uses: those of all raters, or of one rater (``task.listeners``)."""
        return training_record(self.task, self.records[index], (self.seed, epoch, index))

    def waveform(self, index: int, epoch: int) -> np.ndarray:
        """The clip of a record, float32 ``[samples]``; perturbed if ``is_perturb``.

        Raises:
            UnreadableClipError: the clip cannot be decoded.
        """
        record = self.records[index]
        wave = clip_samples(record, self.sample_rate, MAX_SECONDS)
        if not self.is_perturb:
            return wave
        dimensions, _ = self.draw(index, epoch)
        # A separate random stream, so that perturbation does not change the question.
        rng = np.random.default_rng([self.seed, epoch, index, 1])
        augmentation = Augmentation("light", changed_kinds(dimensions), MAX_SECONDS)
        return augmentation.waveform(wave, self.sample_rate, rng)


def _converted(
    file: str, split: str, root: Path | None, importer: Mapping[str, Any] | None
) -> Converted | None:
    """The converted records of a source in a format other than JSON Lines; None for JSON Lines."""
    if not importer and not is_source(file, None):
        return None
    config = with_importer(compose(), importer or {})
    config.task.data.audio_root = None if root is None else str(root)
    if (converted := converted_source(config, split, file)) is None:
        raise ConfigError(
            f"importer={dict(importer or {})}: {file} is read as JSON Lines, without the importer."
        )
    return converted


def _task_of(name: str, rubric: str | os.PathLike[str] | None = None) -> Task:
    """The task of a data set, whose label is the value of one rater.

    Raises:
        ConfigError: the rubric does not exist or is not valid.
    """
    words = [*TASKS[name], "task.labels=sample"]
    if rubric is None:
        return build_task(compose(*words))
    file = expand_home(rubric)
    names = choices("task/rubric")
    if not file.is_file() and str(rubric) in names:
        return build_task(compose(*words, f"task/rubric={rubric}"))
    if not file.is_file():
        raise ConfigError(f"rubric={rubric} is neither a YAML file nor one of {', '.join(names)}.")
    try:
        content = read_plain(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"rubric: {file} is not YAML: {error}") from None
    config = compose(*words)
    config.task.rubric = literal(content)
    return build_task(config)


def _answer(target: Target) -> int:
    """The index of the choice in the training answer."""
    return int(np.argmax(target.distribution)) if target.written is None else target.written
