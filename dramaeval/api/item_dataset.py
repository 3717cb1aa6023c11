"""Adapts any data set of items with ``prompt``, ``solution`` and ``audio`` to the trainers of this package."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.api.clip_input import waveform_of
from dramaeval.data.audio import UnreadableClipError, decode, read_header
from dramaeval.data.durations import length_problem
from dramaeval.data.inline_audio import INLINE
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record
from dramaeval.data.unicode_paths import stored_path
from dramaeval.tasks.processed import ProcessedTask
from dramaeval.tasks.question import Question, Target
from dramaeval.tasks.rubric import Dimension
from dramaeval.training.question_sampler import sample_questions

#: The keys that every item has.
KEYS = ("prompt", "solution", "audio")


class ItemDataset:
    """Adapts a map-style data set (PyTorch's or Hugging Face's) to the trainers.

    An item is a mapping with ``prompt`` (chat messages; the user's message has one audio part), ``solution``
    (``<answer>4</answer>``) and ``audio`` (a float array ``[samples]`` at ``sample_rate``, a mapping with ``array``
    and ``sampling_rate``, a decoder of `datasets`, or a path); ``places`` is optional (see
    `dramaeval.tasks.processed_records`). Every item is read once and checked. Prompts and solutions stay in memory;
    audio is read again when it is needed.

    Args:
        dataset: the data set.
        sample_rate: sampling rate of the model, and of arrays without a rate, in Hz.
        max_seconds: longest clip.

    Raises:
        BadRecordsError: lists the problems of all items.
        ValueError: the data set has no length or no items.
    """

    is_perturb = False

    def __init__(self, dataset: Any, sample_rate: int, max_seconds: float) -> None:
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise ValueError(
                f"train_dataset must be a dramaeval.AudioDataset, or have a length and items by number; a "
                f"{type(dataset).__name__} has not: of a stream make a list, or a map-style data set."
            )
        if not len(dataset):
            raise ValueError("train_dataset has no items.")
        self.dataset, self.sample_rate, self.max_seconds = dataset, sample_rate, max_seconds
        self.name = Path(f"train_dataset ({type(dataset).__name__})")
        self.task = ProcessedTask()
        self.records = self._read()

    def _read(self) -> list[Record]:
        problems: list[Problem] = []
        fields, seconds = [], []
        for number in range(len(self.dataset)):
            item = self.dataset[number]
            if missing := [key for key in KEYS if not isinstance(item, Mapping) or key not in item]:
                fix = f"give every item {', '.join(KEYS)}"
                problems.append(self._problem(number, missing[0], "missing", fix))
                continue
            kept = {key: item.get(key) for key in ("prompt", "solution", "places", "id")}
            fields.append((number + 1, _without_nulls(kept)))
            try:
                seconds.append(self._seconds(item["audio"], number))
            except (ValueError, UnreadableClipError) as error:
                seconds.append(1.0)
                problems.append(self._problem(number, "audio", str(error), "correct the audio"))
                continue
            if reason := length_problem("the clip", seconds[-1], self.max_seconds):
                problems.append(self._problem(number, "audio", *reason))
        try:
            records = self.task.read_items(fields, self.name)
        except BadRecordsError as error:
            problems += error.problems
        if problems:
            raise BadRecordsError(sorted(problems, key=lambda problem: problem.line or 0))
        return [
            replace(record, clip=INLINE, seconds=length)
            for record, length in zip(records, seconds, strict=True)
        ]

    def _problem(self, number: int, key: str, problem: str, fix: str) -> Problem:
        return Problem(file=self.name, line=number + 1, id=None, key=key, problem=problem, fix=fix)

    def _seconds(self, audio: Any, number: int) -> float:
        if isinstance(audio, str | os.PathLike):
            return read_header(stored_path(os.fspath(audio))).seconds
        return len(self._array(audio, number)) / self.sample_rate

    def _array(self, audio: Any, number: int) -> np.ndarray:
        if isinstance(audio, list | tuple):
            audio = np.asarray(audio, dtype=np.float32)
        return waveform_of(audio, number, None, self.sample_rate)

    def record(self, index: int, epoch: int) -> Record:
        """The record of an item, which is the same in every epoch."""
        return self.records[index]

    def draw(self, index: int, epoch: int) -> tuple[list[Dimension], dict[str, Target]]:
        """The dimensions of an item's solution, and their targets."""
        return sample_questions(self.task, self.records[index], (0, epoch, index))

    def question(self, index: int, epoch: int) -> Question:
        """The question of an item: its prompt and its answers."""
        rng = np.random.default_rng([0, epoch, index])
        record = self.records[index]
        return self.task.questions(record, self.task.dimensions_for(record), rng)[0]

    def waveform(self, index: int, epoch: int) -> np.ndarray:
        """The clip of an item, float32 ``[samples]`` at ``sample_rate``."""
        audio = self.dataset[index]["audio"]
        if isinstance(audio, str | os.PathLike):
            return decode(
                stored_path(os.fspath(audio)), self.sample_rate, max_seconds=self.max_seconds
            )
        return self._array(audio, index)


def _without_nulls(value: Any) -> Any:
    """A value without null entries in mappings, which Arrow adds if the parts of messages have different keys."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_without_nulls(inner) for inner in value]
    return value
