"""Perturbations that people hear and that leave their ratings valid: gain, faint noise, slight speed."""

from __future__ import annotations

import numpy as np

GAIN_DB = 6.0
"""Level changes by at most this much, up or down; dynamics within the clip stay."""

NOISE_DB = (30.0, 40.0)
"""Signal-to-noise ratio of the added white noise, against the clip's mean power."""

SPEED = 0.03
"""Tempo and pitch change together by at most this share, half a semitone."""


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
        rng: decides everything that is random.
        noise: whether noise may be added; not where the quality of the sound itself is rated.
        max_seconds: the copy is no longer than this; a clip close to it is not slowed down.

    Returns:
        float32 ``[samples]``; louder copies stay within ±1 where the clip does.
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
