"""Audible perturbations that leave ratings valid: gain, faint noise and a small change of speed."""

from __future__ import annotations

import numpy as np

GAIN_DB = 6.0
"""Largest change of level in dB, up or down; the dynamics within a clip do not change."""

NOISE_DB = (30.0, 40.0)
"""Signal-to-noise ratio of the added white noise in dB, relative to the mean power of the clip."""

SPEED = 0.03
"""Largest relative change of tempo and pitch together; 0.03 is half a semitone."""


def perturb(
    waveform: np.ndarray,
    sample_rate: int,
    rng: np.random.Generator,
    *,
    noise: bool = True,
    max_seconds: float = 30.0,
) -> np.ndarray:
    """A perturbed copy of a clip.

    Args:
        waveform: float32 ``[samples]``.
        sample_rate: in Hz.
        rng: of the perturbation.
        noise: whether noise is added; false where sound quality is rated.
        max_seconds: limit of the copy; a clip of nearly this length is not slowed down.

    Returns:
        float32 ``[samples]``; within ±1 if the clip is.
    """
    import soxr

    speed = 1 + rng.uniform(-SPEED, SPEED)
    speed = max(speed, len(waveform) / sample_rate / max_seconds)
    changed = soxr.resample(waveform, round(sample_rate * speed), sample_rate, quality="HQ")
    changed = changed[: int(max_seconds * sample_rate)].astype(np.float64)
    ratio = 10 ** (-rng.uniform(*NOISE_DB) / 20)
    if noise:
        level = np.sqrt(np.mean(changed**2)) * ratio
        changed = changed + level * rng.standard_normal(len(changed))
    gain = 10 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20)
    peak = float(np.abs(changed).max(initial=0.0))
    if peak * gain > 1:
        gain = max(1.0, 1 / peak) if peak <= 1 else min(gain, 1.0)
    return (changed * gain).astype(np.float32)
