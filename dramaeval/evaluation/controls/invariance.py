"""Invariance: how much the judge's scores change under changes of the clip that should not matter."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dramaeval.data import clip_changes
from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import (
    ControlContext,
    encoder_like,
    require_audio_judge,
    sampled_records,
)
from dramaeval.evaluation.controls.phrasing import averaged
from dramaeval.evaluation.controls.score_shifts import shifts
from dramaeval.evaluation.predictions import Prediction
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.record_encoder import RecordEncoder, Targets
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension

DESCRIPTION = "the same judge, its scores averaged over changes of the clip that should not matter"
FURTHER_RESULTS = "changes"
SETTINGS = ("changed_clips", "draws", "level")

#: Takes a waveform, its sampling rate in Hz and a generator for the record; returns the changed waveform.
Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

CHANGES: Mapping[str, tuple[str, Change]] = {
    "gain +6 dB": ("gain", lambda wave, rate, rng: clip_changes.with_gain(wave, 6)),
    "gain −6 dB": ("gain", lambda wave, rate, rng: clip_changes.with_gain(wave, -6)),
    "0.5 s of silence before and after": (
        "silence",
        lambda wave, rate, rng: clip_changes.with_silence(wave, rate, 0.5),
    ),
    "MP3 at 64 kbit/s": ("mp3", lambda wave, rate, rng: clip_changes.as_mp3(wave, rate, 64)),
    "resampled to 44.1 kHz and back": (
        "resampling",
        lambda wave, rate, rng: clip_changes.resampled_twice(wave, rate, 44_100),
    ),
    "white noise at 20 dB": (
        "noise",
        lambda wave, rate, rng: clip_changes.with_noise(wave, 20, rng),
    ),
    "3 % faster": ("speed", lambda wave, rate, rng: clip_changes.at_speed(wave, rate, 1.03)),
    "3 % slower": ("speed", lambda wave, rate, rng: clip_changes.at_speed(wave, rate, 0.97)),
}
"""The kind of each change, as in `Dimension.varies_with`, and the change, by name."""


def invariance(context: ControlContext) -> tuple[list[Prediction], dict[str, Any]]:
    """Score a sample of the records under every change.

    A changed clip that is longer than ``max_seconds`` loses its end. Gain does not clip the waveform.

    Returns:
        the predictions averaged over the changes, and for each change the shift of the scores (see `shifts`).

    Raises:
        NotPossibleError: see `require_audio_judge`.
    """
    require_audio_judge(context)
    records = sampled_records(context)
    encoder = encoder_like(context.record_encoder, _ChangedEncoder)
    encoder.seed = context.seed
    before = context.score(records, context.record_encoder)
    changed: dict[str, list[Prediction]] = {}
    for name, (_, change) in CHANGES.items():
        encoder.change = change
        changed[name] = context.score(records, encoder)
    expected = {
        name: [d.key for d in context.task.dimensions if kind in d.varies_with]
        for name, (kind, _) in CHANGES.items()
    }
    measured = {"records": len(records), "by_change": shifts(context, before, changed, expected)}
    return averaged(list(changed.values())), measured


class _ChangedEncoder(RecordEncoder):
    """Changes the clip of a record before it encodes it; the clips of few-shot examples do not change.

    Attributes:
        change: the change of the waveform.
        seed: seed of the random choices of the change.
    """

    change: Change
    seed: int

    def encode(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> EncodedRecord:
        rate = self.logmel.sampling_rate
        rng = np.random.default_rng([self.seed, zlib.crc32(record.id.encode())])
        waveform = self.change(self.waveform(record), rate, rng)
        clip = self.features(waveform[: int(self.max_seconds * rate)])
        return self.encode_with_clips(record, {record.clip: clip}, asked, targets)
