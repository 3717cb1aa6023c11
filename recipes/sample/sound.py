"""Audio effects applied after espeak-ng: loudness, tilt, tremor, breath, artefacts.

All functions take and give float64 `(n,)` and leave their input alone; `rate` is in Hz.
"""

import numpy as np

_SILENCE = 1e-4


def resampled(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Resampled from `rate` to `new_rate`; a false `rate` changes pitch, formants and length."""
    import soxr

    return soxr.resample(samples, rate, new_rate, quality="HQ")


def spoken_part(samples: np.ndarray, rate: float, margin: float = 0.06) -> slice:
    """The samples without the silence at both ends, but for `margin` seconds."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    keep = round(margin * rate)
    return slice(max(loud[0] - keep, 0), loud[-1] + keep)


def envelope(samples: np.ndarray, rate: float, width: float = 0.08) -> np.ndarray:
    """Root mean square within a sliding window of `width` seconds."""
    size = max(1, round(width * rate))
    power = np.cumsum(np.concatenate([np.zeros(1), samples**2]))
    left = np.clip(np.arange(len(samples)) - size // 2, 0, None)
    right = np.clip(np.arange(len(samples)) + size - size // 2, None, len(samples))
    mean = (power[right] - power[left]) / np.maximum(right - left, 1)
    return np.sqrt(np.maximum(mean, 0.0))


def evened(samples: np.ndarray, rate: float, amount: float) -> np.ndarray:
    """The loudness pulled to its typical value; `amount` 0 leaves it, 1 flattens it."""
    level = envelope(samples, rate, width=0.15)
    active = level > 0.05 * level.max()
    typical = np.median(level[active])
    gain = (typical / np.maximum(level, 0.25 * typical)) ** amount
    return samples * gain


def swelled(
    samples: np.ndarray, rate: float, depth: float, period: float, phase: float
) -> np.ndarray:
    """The loudness rising and falling by ± `depth` dB every `period` seconds."""
    time = np.arange(len(samples)) / rate
    wave = np.sin(2 * np.pi * time / period + phase)
    # Flattened tops: the voice stays loud or soft for a while instead of passing through.
    wave = np.tanh(2 * wave) / np.tanh(2)
    return samples * 10 ** (depth * wave / 20)


def emphasised(
    samples: np.ndarray, rate: float, spans: list[tuple[int, int]], decibels: float
) -> np.ndarray:
    """Sample spans raised by `decibels`, with 20 ms of transition."""
    if not spans:
        return samples
    ramp = 0.02 * rate
    place = np.arange(len(samples))
    smooth = np.zeros(len(samples))
    for start, end in spans:
        rise, fall = (place - start) / ramp, (end - place) / ramp
        smooth += decibels * np.clip(np.minimum(rise, fall), 0.0, 1.0)
    return samples * 10 ** (smooth / 20)


def tilted(samples: np.ndarray, rate: float, decibels_an_octave: float) -> np.ndarray:
    """Brighter or duller: so many dB an octave from 500 Hz upwards."""
    # A length of small factors: FFTs of others are several times slower.
    padded = -(-len(samples) // 4096) * 4096
    spectrum = np.fft.rfft(samples, n=padded)
    frequency = np.fft.rfftfreq(padded, 1 / rate)
    octaves = np.log2(np.maximum(frequency, 500.0) / 500.0)
    shaped = np.fft.irfft(spectrum * 10 ** (decibels_an_octave * octaves / 20), n=padded)[
        : len(samples)
    ]
    return shaped * _rms(samples) / max(_rms(shaped), _SILENCE)


def driven(samples: np.ndarray, drive: float) -> np.ndarray:
    """Saturated softly, as a pressed voice."""
    scale = 1.0 / max(3 * _rms(samples), _SILENCE)
    pressed = np.tanh((1 + drive) * samples * scale)
    return pressed * _rms(samples) / max(_rms(pressed), _SILENCE)


def trembling(
    samples: np.ndarray, rate: float, tremor: tuple[float, float, float], phase: float
) -> np.ndarray:
    """Wavering at `tremor` = (Hz, depth of the amplitude 0..1, semitones of the pitch)."""
    hertz, depth, semitones = tremor
    time = np.arange(len(samples)) / rate
    angle = 2 * np.pi * hertz * time + phase
    if semitones:
        # d/dt of the delay is the relative change of pitch.
        swing = (2 ** (semitones / 12) - 1) / (2 * np.pi * hertz) * rate
        samples = np.interp(
            np.arange(len(samples)) + swing * np.sin(angle), np.arange(len(samples)), samples
        )
    return samples * (1 - depth * (0.5 + 0.5 * np.cos(angle)))


def breathy(
    samples: np.ndarray, rate: float, amount: float, rng: np.random.Generator
) -> np.ndarray:
    """With breath noise that follows the voice, `amount` times its level."""
    noise = tilted(rng.standard_normal(len(samples)), rate, 1.0)
    return samples + amount * noise * envelope(samples, rate)


def noisy(samples: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """With a steady hiss, 9 dB below the voice."""
    noise = tilted(rng.standard_normal(len(samples)), rate, -2.0)
    return samples + noise * _active_rms(samples, rate) * 10 ** (-9 / 20)


def clipped(samples: np.ndarray, rate: float) -> np.ndarray:
    """Cut hard at the voice's own typical level."""
    limit = 0.8 * _active_rms(samples, rate)
    return np.clip(samples, -limit, limit)


def robotic(samples: np.ndarray, rate: float) -> np.ndarray:
    """Ring-modulated at 70 Hz and echoed after 11 ms: a metallic machine."""
    time = np.arange(len(samples)) / rate
    ringing = samples * np.where(np.sin(2 * np.pi * 70 * time) > 0, 1.0, 0.15)
    delay = round(0.011 * rate)
    echo = np.concatenate([np.zeros(delay), ringing[:-delay]])
    return ringing + 0.8 * echo


def with_dropouts(samples: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """With two abrupt holes of 50 to 110 ms in every second."""
    result = samples.copy()
    count = max(3, round(2 * len(samples) / rate))
    for start in rng.integers(0, len(samples), size=count):
        result[start : start + round(rng.uniform(0.05, 0.11) * rate)] = 0.0
    return result


def levelled(samples: np.ndarray, rate: float, decibels: float) -> np.ndarray:
    """Scaled so that speech (not pauses) has this RMS in dB of full scale; peaks bent below 1."""
    scaled = samples * 10 ** (decibels / 20) / max(_active_rms(samples, rate), _SILENCE)
    over = np.abs(scaled) > 0.7
    bent = 0.7 + 0.28 * np.tanh((np.abs(scaled) - 0.7) / 0.28)
    return np.where(over, np.sign(scaled) * bent, scaled)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def _active_rms(samples: np.ndarray, rate: float) -> float:
    level = envelope(samples, rate)
    return _rms(samples[level > 0.1 * level.max()])
