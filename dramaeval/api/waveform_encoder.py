"""Encodes records of the Python API, whose clips are files or arrays in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from dramaeval.api.clip_input import check_length, waveform_of
from dramaeval.data.audio import read_header
from dramaeval.data.records import Record
from dramaeval.data.turns import WAV_PATH, Turn
from dramaeval.data.unicode_paths import stored_path
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.inputs.windows import Windows

Clip = str | os.PathLike[str] | np.ndarray | torch.Tensor | Mapping[str, Any]


class WaveformEncoder(RecordEncoder):
    """A `RecordEncoder` that also accepts clips that are arrays in memory.

    Args:
        args, options: the other arguments of `RecordEncoder`.
        data: ``task.data``, with the longest length of a clip.
        array_rate: sampling rate of arrays, in Hz; None means the rate of the model.
    """

    def __init__(
        self, *args: Any, data: DictConfig, array_rate: int | None, **options: Any
    ) -> None:
        super().__init__(*args, max_seconds=data.max_seconds, **options)
        self.data, self.array_rate = data, array_rate
        #: The samples of each clip in memory, by the path that stands for the clip.
        self.waveforms: dict[Path, np.ndarray] = {}
        #: The sampling rate of these samples, in Hz; a judge that takes no audio does not use them.
        self.rate: int = self.logmel.sampling_rate if self.family.takes_audio else 16000

    def add_clip(self, name: str, clip: Clip, *, number: int = 0) -> tuple[Path, float]:
        """The path that stands for a clip in records, and its length in seconds; the samples of an array are stored.

        The name and the number of an array are for messages.

        Raises:
            ValueError: an array is not a clip, or a clip is too short or too long.
            UnreadableClipError: a file cannot be read.
        """
        if isinstance(clip, str | os.PathLike):
            path = stored_path(os.fspath(clip))
            seconds = read_header(path).seconds
            self.waveforms.pop(path, None)
        else:
            path = Path(name)
            waveform = waveform_of(clip, number, self.array_rate, self.rate)
            seconds = len(waveform) / self.rate
            self.waveforms[path] = waveform[: int(self.max_seconds * self.rate + 1e-6)]
        check_length(str(path), seconds, self.data)
        return path, min(seconds, self.max_seconds)

    def record(
        self,
        number: int,
        clip: Clip,
        reference: Clip | None,
        fields: Mapping[str, Any],
        turns: Sequence[Mapping[str, Any]],
        listener: str | None,
    ) -> Record:
        """The record of a clip with its reference, texts, turns and listener; errors as for `add_clip`."""
        path, seconds = self.add_clip(f"audio[{number}]", clip, number=number)
        reference_path, reference_seconds = self.add_reference(
            f"reference[{number}]", reference, number=number
        )
        return Record(
            id=str(number), file=Path("Judge.score"), line=number, clip=path, seconds=seconds, fields=fields,
            ratings={}, reference=reference_path, reference_seconds=reference_seconds,
            turns=self.turns(f"turns[{number}]", turns, number=number), listener=listener,
        )  # fmt: skip

    def add_reference(
        self, name: str, reference: Clip | None, *, number: int = 0
    ) -> tuple[Path | None, float]:
        """As `add_clip`; the path is None without a reference."""
        return (None, 0.0) if reference is None else self.add_clip(name, reference, number=number)

    def turns(
        self, name: str, turns: Sequence[Mapping[str, Any]], *, number: int = 0
    ) -> tuple[Turn, ...]:
        """The turns before a clip, from the result of `turns_of`; arguments and errors as for `add_clip`."""
        added = []
        for place, turn in enumerate(turns):
            clip: tuple[Any, ...] = ()
            if turn.get(WAV_PATH) is not None:
                clip = self.add_clip(f"{name}[{place}]", turn[WAV_PATH], number=number)
            added.append(Turn(turn["role"].strip(), turn["text"].strip(), *clip))
        return tuple(added)

    def _clip_at(self, record: Record, path: Path) -> Windows:
        waveform = self.waveforms.get(path)
        return super()._clip_at(record, path) if waveform is None else self.features(waveform)
