"""Augmentation of training clips: audible changes after which the ratings are still valid.

Sources: speed and noise as in Ko et al. 2015 (Interspeech) and Snyder et al. 2018 (arXiv 1710.04600), in narrower ranges
for ratings of acting; masks of the log-mel features as in SpecAugment (Park et al. 2019, arXiv 1904.08779).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from dramaeval.data import clip_changes
from dramaeval.data.logmel import ClipFeatures

GAIN_DB = 6.0
"""Largest level change in dB, up or down; the dynamics within a clip do not change."""

NOISE_DB = (30.0, 40.0)
"""Signal-to-noise ratio of the added white noise in dB, relative to the mean power of the clip."""

SPEED = 0.03
"""Largest relative change of tempo and pitch together; 0.03 is half a semitone."""

STRONG_NOISE_DB = (15.0, 40.0)
ROOM_SHARE, ROOM_SECONDS, ROOM_WET = 0.3, (0.2, 0.6), (0.1, 0.4)
"""Share of clips with reverberation, reverberation time, and its energy relative to the direct sound."""
CODEC_SHARE, CODEC_KILOBITS = 0.3, (24.0, 64.0)
"""Share of clips that are encoded as MP3, and the bit rate."""
MASKS, MASKED_BINS, MASKED_TIME = 2, 0.1, 0.05
"""Number of masks per axis, and the largest share of mel bins or frames that one mask covers."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training clips.

    Attributes:
        strength: ``light``: level, speed, faint noise; ``strong``: also louder noise, reverberation, MP3, and masks of
            the log-mel features.
        leaves_out: changes that are not applied, because they would alter a rated quality: ``gain``, ``noise`` (with
            reverberation), ``speed``, ``mp3``.
        max_seconds: length limit of a changed clip; a clip of nearly this length is not slowed down.
    """

    strength: str
    leaves_out: Collection[str] = ()
    max_seconds: float = 30.0

    @property
    def stretch(self) -> float:
        """Largest ratio of a changed clip's length to the original length."""
        return 1.0 if "speed" in self.leaves_out else 1 / (1 - SPEED)

    def waveform(self, waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
        """A changed copy of a waveform, mono float32 ``[samples]``; within ±1 if the original is."""
        strong = self.strength == "strong"
        changed = waveform
        speed = 1 + rng.uniform(-SPEED, SPEED)
        if "speed" not in self.leaves_out:
            shortest = len(waveform) / rate / self.max_seconds
            changed = clip_changes.at_speed(changed, rate, max(speed, shortest))
            changed = changed[: int(self.max_seconds * rate)]
        in_room, seconds, wet = rng.random(), rng.uniform(*ROOM_SECONDS), rng.uniform(*ROOM_WET)
        decibels = rng.uniform(*(STRONG_NOISE_DB if strong else NOISE_DB))
        if "noise" not in self.leaves_out:
            if strong and in_room < ROOM_SHARE:
                changed = clip_changes.with_reverberation(changed, rate, seconds, rng, wet=wet)
            changed = clip_changes.with_noise(changed, decibels, rng)
        coded, kilobits = rng.random(), rng.uniform(*CODEC_KILOBITS)
        if strong and coded < CODEC_SHARE and "mp3" not in self.leaves_out:
            changed = clip_changes.as_mp3(changed, rate, kilobits)
        gain = 10 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20)
        return _within_bounds(changed, 1.0 if "gain" in self.leaves_out else gain, waveform)

    def features(self, clip: ClipFeatures, rng: np.random.Generator) -> ClipFeatures:
        """Log-mel features with masks if the strength is ``strong``; masked values become the mean of all values."""
        if self.strength != "strong":
            return clip
        values = clip.values.copy()
        filler = float(values[:, : clip.frames].mean())
        for _ in range(MASKS):
            values[_span(values.shape[0], MASKED_BINS, rng), :] = filler
            values[:, _span(clip.frames, MASKED_TIME, rng)] = filler
        return replace(clip, values=values, key="")


def _span(size: int, share: float, rng: np.random.Generator) -> slice:
    """A random interval of ``range(size)``, at most `share` of it long."""
    length = int(rng.integers(0, int(size * share) + 1))
    start = int(rng.integers(0, size - length + 1))
    return slice(start, start + length)


def _within_bounds(changed: np.ndarray, gain: float, original: np.ndarray) -> np.ndarray:
    """Apply the gain, lowered if a value would leave ±1; an original beyond ±1 is not amplified."""
    changed = changed.astype(np.float64)
    peak = float(np.abs(changed).max(initial=0.0))
    if peak * gain > 1:
        gain = 1 / peak if np.abs(original).max(initial=0.0) <= 1 else min(gain, 1.0)
    return (changed * gain).astype(np.float32)
