"""The pretraining clips: texts and deliveries drawn at random, synthesised and cached.

The properties of a delivery are independent, so that each must be learnt from the audio.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dramaeval.models.families.qwen2_audio import audio_tokens
from recipes.sample import context as contexts
from recipes.sample import speech
from recipes.sample.draw import draw_delivery
from recipes.sample.speech import Delivery
from recipes.tiny_judge.voices import admit_more_voices

if TYPE_CHECKING:
    from dramaeval.data.logmel import ClipFeatures

#: The simulated speech system whose habits the deliveries have: none, and most recordings clean.
SYSTEM = "aspen"

#: How many clips pass through an MP3 encoder: shared recordings mostly have.
COMPRESSED = 0.6


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One line about a topic, spoken in one way."""

    transcript: str
    topic: str
    language: str
    delivery: Delivery
    seed: int


def draw(count: int, split: str, seed: int) -> list[Spoken]:
    """``count`` lines in words and voices of ``split``, `pretraining` or `sample`.

    Every property of the delivery is drawn by itself.
    """
    admit_more_voices()
    rng = np.random.default_rng([seed, 0xC11B])
    drawn = []
    for index in range(count):
        language = contexts.draw_language(rng)
        topic = contexts.pick(rng, contexts.words_of(language, split, "nouns"))
        drawn.append(
            Spoken(
                transcript=contexts.sentence(rng, language, split, topic),
                topic=topic,
                language=language,
                delivery=draw_delivery(rng, split, system=SYSTEM),
                seed=seed * 1_000_003 + index,
            )
        )
    return drawn


@dataclass(frozen=True)
class Rendered:
    """A synthesised line.

    Attributes:
        features: its log-mel features.
        melody: float32 ``[audio tokens]``, see `melody`.
        stressed: float32 ``[audio tokens]``, see `stressed_share`.
    """

    features: ClipFeatures
    melody: np.ndarray
    stressed: np.ndarray


def compressed(waveform: np.ndarray, level: float) -> np.ndarray:
    """The clip after an MP3 encoder of variable rate and back; the higher ``level``, the smaller."""
    import soundfile

    file = io.BytesIO()
    encoding = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE"}
    soundfile.write(file, waveform, 16_000, format="MP3", compression_level=level, **encoding)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


#: Samples at 16 kHz for which an audio token stands.
HOP = 640


def stressed_share(spans: Sequence[tuple[int, int]], tokens: int) -> np.ndarray:
    """The share of every audio token that is part of a stressed word."""
    is_stressed = np.zeros(tokens * HOP, np.float32)
    for start, end in spans:
        is_stressed[max(start, 0) : max(end, 0)] = 1
    return is_stressed.reshape(tokens, HOP).mean(1)


#: Hz; what is looked for as a voice's pitch.
LOWEST_PITCH, HIGHEST_PITCH = 65, 520
#: Octaves are counted from here, in Hz.
REFERENCE_PITCH = 180.0


def melody(waveform: np.ndarray, tokens: int) -> np.ndarray:
    """The pitch at every audio token (25 a second), in octaves above `REFERENCE_PITCH`.

    From the highest peak of the autocorrelation of 64 ms, corrected for the window's own (Boersma
    1993, "Accurate short-term analysis of the fundamental frequency"); not-a-number where the peak is
    below one half, which is where no voice is.
    """
    size = 1024
    padded = np.pad(waveform, (size // 2 - HOP // 2, size + HOP))
    starts = np.arange(tokens) * HOP
    window = np.hanning(size)
    frames = padded[starts[:, None] + np.arange(size)] * window
    power = np.abs(np.fft.rfft(frames - frames.mean(1, keepdims=True), 2 * size)) ** 2
    window_correlation = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * size)) ** 2)
    lags = np.arange(round(16_000 / HIGHEST_PITCH), round(16_000 / LOWEST_PITCH))
    correlation = np.fft.irfft(power)
    peaks = (
        correlation[:, lags]
        / (correlation[:, :1] + 1e-9)
        / (window_correlation[lags] / window_correlation[0])
    )
    # A period's multiples correlate as well; the shortest wins among equals.
    best = (peaks - 0.0005 * lags).argmax(1)
    octaves = np.log2(16_000 / lags[best] / REFERENCE_PITCH)
    voiced = peaks[np.arange(tokens), best] > 0.5
    return np.where(voiced, octaves, np.nan).astype(np.float32)


def render(spoken: Spoken) -> Rendered:
    """Synthesise one line and measure it."""
    admit_more_voices()
    front_end = _front_end()
    line = speech.spoken(spoken.transcript, spoken.language, spoken.delivery, spoken.seed)
    waveform = line.samples
    rng = np.random.default_rng([spoken.seed, 0x3F3])
    if rng.random() < COMPRESSED:
        waveform = compressed(waveform, float(rng.uniform(0.3, 0.8)))
    features = front_end(waveform)
    tokens = audio_tokens(features.frames)
    return Rendered(
        features=features,
        melody=melody(waveform, tokens),
        stressed=stressed_share(line.stressed, tokens),
    )


_FRONT_END = None


def _front_end() -> Callable[[np.ndarray], ClipFeatures]:
    """The log-mel front end of this process, created once."""
    global _FRONT_END  # noqa: PLW0603 - one per worker process
    if _FRONT_END is None:
        import torch

        from dramaeval.data.logmel import LogMel
        from recipes.tiny_judge.architecture import feature_extractor

        torch.set_num_threads(1)
        _FRONT_END = LogMel(feature_extractor())
    return _FRONT_END


def _rendered(spoken: Sequence[Spoken], processes: int) -> Iterator[Rendered]:
    if processes <= 1:
        yield from map(render, spoken)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap(render, spoken, chunksize=16)


def render_all(
    spoken: Sequence[Spoken], cache: Path, processes: int, progress: Callable[[int, int], None]
) -> list[Rendered]:
    """Every line, from ``cache`` where the same lines were rendered before.

    Args:
        spoken: what to render.
        cache: a folder; one file is kept for each list of lines, features in float16.
        processes: how many synthesise at once.
        progress: called with clips done and clips in all.
    """
    identity = repr(
        [
            COMPRESSED,
            "stressed",
            *((s.transcript, s.language, asdict(s.delivery), s.seed) for s in spoken),
        ]
    )
    path = cache / f"clips_{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        rendered_clips = []
        for clip in _rendered(spoken, processes):
            rendered_clips.append(clip)
            progress(len(rendered_clips), len(spoken))
        _write(rendered_clips, path)
    return _read(path)


def _write(rendered_clips: Sequence[Rendered], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.npz")
    clips = [clip.features for clip in rendered_clips]
    np.savez(
        unfinished,
        values=np.concatenate([clip.values.astype(np.float16) for clip in clips], axis=1),
        widths=np.array([clip.values.shape[1] for clip in clips]),
        frames=np.array([clip.frames for clip in clips]),
        floors=np.array([clip.floor for clip in clips]),
        melodies=np.concatenate([clip.melody for clip in rendered_clips]),
        stressed=np.concatenate([clip.stressed for clip in rendered_clips]),
        tokens=np.array([len(clip.melody) for clip in rendered_clips]),
    )
    unfinished.rename(path)


def _read(path: Path) -> list[Rendered]:
    from dramaeval.data.logmel import ClipFeatures

    stored = np.load(path)
    values = np.split(stored["values"], np.cumsum(stored["widths"])[:-1], axis=1)
    ends = np.cumsum(stored["tokens"])[:-1]
    melodies = np.split(stored["melodies"], ends)
    stresses = np.split(stored["stressed"], ends)
    return [
        Rendered(
            features=ClipFeatures(values=piece, frames=int(frames), floor=float(floor)),
            melody=notes,
            stressed=share,
        )
        for piece, frames, floor, notes, share in zip(
            values, stored["frames"], stored["floors"], melodies, stresses, strict=True
        )
    ]
