"""Prosody: a ridge regression on acoustic features, fitted on the training split.

It uses neither the words nor the scene, so that a judge has to agree better with people.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.compat.librosa import compiled_librosa
from dramaeval.data.audio import UnreadableClipError
from dramaeval.data.inline_audio import clip_samples
from dramaeval.data.records import Record
from dramaeval.evaluation.controls.control_context import ControlContext, require_clips
from dramaeval.evaluation.controls.ridge import fitted_predictions
from dramaeval.evaluation.predictions import Prediction

DESCRIPTION = "a ridge regression on f0, energy, pauses and rate"
SETTINGS = ("prosody_clips",)

RATE = 16_000
"""Sampling rate in Hz."""

NAMES = (
    "seconds", "f0_median", "f0_spread", "f0_range", "f0_slope", "voiced_share", "energy_mean",
    "energy_spread", "energy_range", "pause_share", "pauses_a_second", "longest_pause",
    "onsets_a_second", "brightness",
)  # fmt: skip
_FRAME, _HOP = 2048, 512
_LOWEST, _HIGHEST = 65.0, 500.0
#: A frame this far below the loudest one is a pause.
_QUIET_DB = 35.0


def prosody(context: ControlContext) -> list[Prediction]:
    """Predict each dimension's mean rating from the clip's features (see `fitted_predictions`).

    The f0 features of a clip without voice are missing features.

    Raises:
        NotPossibleError: there is no training split, or the judge takes no audio.
    """
    require_clips(context)

    def featurise(records: Sequence[Record]) -> list[np.ndarray | str]:
        return [_clip_features(record, context) for record in records]

    return fitted_predictions(context, featurise)


def _clip_features(record: Record, context: ControlContext) -> np.ndarray | str:
    """The clip's features, or the reason why there are none."""
    try:
        values = features(clip_samples(record, RATE, context.record_encoder.max_seconds))
    except UnreadableClipError as error:
        return f"unreadable clip: {error.reason}"
    context.progress(1)
    return values


def features(samples: np.ndarray) -> np.ndarray:
    """Compute the features of ``NAMES``, float64 ``[features]``; NaN where the clip has none (f0 without voice).

    f0 is in semitones over 55 Hz (probabilistic YIN; Mauch & Dixon 2014): median, standard deviation, range of
    the middle 90 %, slope per second. Energy is in dB of the root mean square of frames of 128 ms: mean, standard
    deviation and range of the middle 90 % over the frames that are not pauses. The rate counts acoustic onsets, an
    approximation of syllables; brightness is the mean spectral centroid in kHz.

    Args:
        samples: mono ``[samples]`` at `RATE`.
    """
    librosa = compiled_librosa()
    samples = np.asarray(samples, dtype=np.float32)
    if len(samples) < _FRAME:
        samples = np.pad(samples, (0, _FRAME - len(samples)))
    seconds = len(samples) / RATE
    rms = librosa.feature.rms(y=samples, frame_length=_FRAME, hop_length=_HOP)[0]
    decibel = librosa.amplitude_to_db(np.maximum(rms, 1e-5), ref=1.0)
    loud = decibel > decibel.max() - _QUIET_DB
    pauses = _runs(~loud)
    onsets = librosa.onset.onset_detect(y=samples, sr=RATE, hop_length=_HOP)
    centroid = librosa.feature.spectral_centroid(y=samples, sr=RATE, n_fft=_FRAME, hop_length=_HOP)[
        0
    ]
    return np.array(
        [
            seconds,
            *_f0_features(samples),
            decibel[loud].mean(),
            decibel[loud].std(),
            np.ptp(np.quantile(decibel[loud], [0.05, 0.95])),
            1 - loud.mean(),
            len(pauses) / seconds,
            max(pauses, default=0) * _HOP / RATE,
            len(onsets) / seconds,
            centroid[loud[: len(centroid)]].mean() / 1000,
        ],
        dtype=np.float64,
    )


def _f0_features(samples: np.ndarray) -> list[float]:
    """Median, spread, range and slope of f0 in semitones, and the voiced share."""
    f0, voiced, _ = compiled_librosa().pyin(
        samples,
        fmin=_LOWEST,
        fmax=_HIGHEST,
        sr=RATE,
        frame_length=_FRAME,
        hop_length=_HOP,
        resolution=0.2,
    )
    share = float(np.mean(voiced))
    frames = np.flatnonzero(voiced & np.isfinite(f0))
    if len(frames) < 3:
        return [np.nan, np.nan, np.nan, np.nan, share]
    semitones = 12 * np.log2(f0[frames] / 55.0)
    slope = np.polyfit(frames * _HOP / RATE, semitones, 1)[0]
    span = float(np.ptp(np.quantile(semitones, [0.05, 0.95])))
    return [float(np.median(semitones)), float(semitones.std()), span, float(slope), share]


def _runs(flags: np.ndarray) -> list[int]:
    """Lengths of the runs of True, in frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()
