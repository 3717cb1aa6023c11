"""Changes of a waveform: level, silence, codec, sampling rate, noise, speed and reverberation.

Every function takes and returns mono float32 ``[samples]``. Values beyond ±1 are not clipped; the log-mel transform
accepts them.
"""

from __future__ import annotations

import io

import numpy as np


def with_gain(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """The waveform, louder or quieter by a number of decibels."""
    return (waveform * 10 ** (decibels / 20)).astype(np.float32)


def with_silence(waveform: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """The waveform with the same number of seconds of silence before and after it."""
    return np.pad(waveform, round(seconds * rate)).astype(np.float32)


def as_mp3(waveform: np.ndarray, rate: int, kilobits: float) -> np.ndarray:
    """The waveform after encoding to MP3 at a constant bit rate, and decoding.

    Args:
        waveform: mono samples; values beyond ±1 are scaled down for the file and scaled up again.
        rate: sampling rate in Hz; MP3 is computed at the nearest rate from 16 to 24 kHz.
        kilobits: kilobits per second, 8 to 160; the nearest bit rate of MPEG-2 layer III is used.
    """
    import soundfile
    import soxr

    coded_rate = min(max(rate, 16_000), 24_000)
    if coded_rate != rate:
        coded = as_mp3(soxr.resample(waveform, rate, coded_rate), coded_rate, kilobits)
        return _of_length(soxr.resample(coded, coded_rate, rate), len(waveform))
    peak = max(1.0, float(np.abs(waveform).max(initial=0.0)))
    # libsndfile maps 0 … 1 linearly to the bit rates of MPEG-2, 160 … 8 kbit/s.
    compression = (160 - kilobits) / (160 - 8)
    stream = io.BytesIO()
    kind = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    soundfile.write(stream, waveform / peak, rate, compression_level=compression, **kind)
    stream.seek(0)
    decoded, _ = soundfile.read(stream, dtype="float32")
    return _of_length(decoded * peak, len(waveform))


def resampled_twice(waveform: np.ndarray, rate: int, other_rate: int) -> np.ndarray:
    """The waveform after resampling to another rate and back."""
    import soxr

    resampled = soxr.resample(waveform, rate, other_rate, quality="HQ")
    return _of_length(soxr.resample(resampled, other_rate, rate, quality="HQ"), len(waveform))


def with_noise(waveform: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    """The waveform with white noise at a signal-to-noise ratio, relative to the mean power of the clip."""
    level = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))) * 10 ** (-decibels / 20)
    return (waveform + level * rng.standard_normal(len(waveform))).astype(np.float32)


def at_speed(waveform: np.ndarray, rate: int, factor: float) -> np.ndarray:
    """The waveform played faster (``factor`` above 1) or slower; tempo and pitch change together."""
    import soxr

    changed = soxr.resample(waveform, round(rate * factor), rate, quality="HQ")
    return np.asarray(changed, dtype=np.float32)


def with_reverberation(
    waveform: np.ndarray, rate: int, seconds: float, rng: np.random.Generator, *, wet: float = 0.3
) -> np.ndarray:
    """The waveform in a synthetic room, whose impulse response is random noise that decays exponentially.

    In `seconds`, the reverberation time, the level falls by 60 dB; `wet` is the energy of the reverberation relative
    to the direct sound.
    """
    from scipy.signal import fftconvolve

    length = max(1, round(seconds * rate))
    decay = 10 ** (-3 * np.arange(length) / length)
    response = rng.standard_normal(length) * decay
    response[0] = 0.0
    response *= np.sqrt(wet / max(np.sum(np.square(response)), 1e-12))
    response[0] = 1.0
    return fftconvolve(waveform, response)[: len(waveform)].astype(np.float32)


def _of_length(waveform: np.ndarray, length: int) -> np.ndarray:
    """The waveform cut to a length, or padded with zeros at its end."""
    return np.pad(waveform[:length], (0, max(0, length - len(waveform)))).astype(np.float32)
