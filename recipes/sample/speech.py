"""Synthesises a text with a `Delivery`: SSML for espeak-ng, then the effects of the voice.

The same arguments give the same samples, in any process and after any other utterance.
"""

from dataclasses import dataclass

import numpy as np

from recipes.sample import sound
from recipes.sample.espeak import SAMPLE_RATE, Utterance, speak
from recipes.sample.markup import marked_up
from recipes.sample.voices import VOICES, Voice

OUTPUT_RATE = 16_000
"""Rate of the finished clip in Hz."""

PAUSES = ("natural", "none", "broken")
STRESSES = ("content", "none", "misplaced")
EMOTIONS = ("neutral", "joy", "anger", "sadness", "fear")
ARTEFACTS = ("none", "noise", "clipping", "robotic", "dropouts")
LANGUAGES = {"en": "en-us", "zh": "cmn"}
"""Language of a record → espeak-ng's voice."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How one line is spoken; every field is a plain, controlled property of the sound."""

    voice: str
    """Key into `VOICES`."""
    pitch_range: float
    """0 monotone … 1 very lively."""
    rate: float
    """0 slow … 1 fast."""
    pauses: str
    """`natural` at punctuation, `none` run together, `broken` by hesitations inside a phrase."""
    stress: str
    """`content` on key words, `none`, `misplaced` on function words."""
    loudness_range: float
    """0 even … 1 strong swells."""
    level: float
    """0 hushed … 1 raised voice."""
    emotion: str
    """One of `EMOTIONS`."""
    intensity: float
    """0 … 1: how strongly the emotion colours the sound."""
    artefact: str
    """One of `ARTEFACTS`."""

    def problems(self) -> list[str]:
        """The problems of the fields, in words; empty if there are none."""
        problems = [] if self.voice in VOICES else [f"voice {self.voice!r} is none of VOICES"]
        for name, valid in (
            ("pauses", PAUSES),
            ("stress", STRESSES),
            ("emotion", EMOTIONS),
            ("artefact", ARTEFACTS),
        ):
            if getattr(self, name) not in valid:
                problems.append(f"{name} {getattr(self, name)!r} is none of {', '.join(valid)}")
        for name in ("pitch_range", "rate", "loudness_range", "level", "intensity"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name} {getattr(self, name)!r} is not within 0 and 1")
        return problems


@dataclass(frozen=True, kw_only=True)
class Speech:
    """A synthesised line.

    Attributes:
        samples: float32 `(n,)`, 16 kHz mono, peak at most 1, every sample a multiple of 1/32768 (so that
            16-bit PCM keeps it exactly).
        stressed: `[start, end)` of every stressed word, in samples.
    """

    samples: np.ndarray
    stressed: list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class _Colour:
    """The effect of an emotion at full strength on the voice."""

    semitones: float = 0.0  # on the base pitch
    pace: float = 1.0  # factor on the speaking rate
    smile: float = 1.0  # factor on the formants
    tilt: float = 0.0  # dB an octave above 500 Hz
    drive: float = 0.0  # saturation, a pressed voice
    breath: float = 0.0  # breath noise relative to the voice
    tremor: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Hz, depth in amplitude, semitones


_COLOURS = {
    "neutral": _Colour(),
    "joy": _Colour(semitones=4, pace=1.10, smile=1.07, tilt=1.5, tremor=(2.5, 0.0, 0.9)),
    "anger": _Colour(semitones=1, pace=1.08, tilt=4.0, drive=6.0, tremor=(38.0, 0.3, 0.0)),
    "sadness": _Colour(semitones=-3, pace=0.82, smile=0.97, tilt=-5.0, breath=0.05),
    "fear": _Colour(semitones=3, pace=1.10, tilt=-1.0, breath=0.22, tremor=(9.0, 0.6, 0.7)),
}
_OLD_AGE = _Colour(tilt=-1.0, breath=0.03, tremor=(5.2, 0.22, 0.35))

_QUIET_DB, _LOUD_DB = -36.0, -15.0
_SLOW_WPM, _FAST_WPM = 115.0, 285.0
_MONOTONE_SEMITONES, _LIVELY_SEMITONES = 0.2, 12.0
_RANGE_LIFT = {"en": 0.5, "zh": 0.1}  # semitones of the median for a semitone of range, measured
_EMPHASIS_DB = 7.0
_SWELL_DB = 9.0


def synthesise(text: str, language: str, delivery: Delivery, seed: int) -> np.ndarray:
    """The samples of one line, see `spoken`."""
    return spoken(text, language, delivery, seed).samples


def spoken(text: str, language: str, delivery: Delivery, seed: int) -> Speech:
    """Synthesise one line, and tell which of its samples are stressed.

    Args:
        text: the words, with their punctuation.
        language: `en` or `zh` (Mandarin).
        delivery: how to speak them.
        seed: of everything random in the sound; a non-negative integer.

    Raises:
        ValueError: a field or the language is not valid, or the text has no words.
        EspeakError: no libespeak-ng.
    """
    problems = delivery.problems()
    if language not in LANGUAGES:
        problems.append(f"language {language!r} is none of {', '.join(LANGUAGES)}")
    if problems:
        raise ValueError("This cannot be spoken: " + "; ".join(problems) + ".")
    rng = np.random.default_rng([seed, 0x5EED])
    voice = VOICES[delivery.voice]
    colour = _COLOURS[delivery.emotion]
    strength = _strength(delivery)
    size = voice.size * colour.smile**strength
    marked = marked_up(text, language, delivery.pauses, delivery.stress, delivery.pitch_range, rng)
    utterance = speak(
        marked.ssml,
        voice=f"{LANGUAGES[language]}+{voice.variant}",
        words_per_minute=_words_per_minute(delivery, colour, strength, size),
        seed=seed,
        **_pitch_settings(voice, delivery, colour.semitones * strength, size, language),
    )
    spans = _stressed_spans(utterance, marked.stressed)
    samples = sound.emphasised(
        utterance.samples, SAMPLE_RATE, spans, _EMPHASIS_DB if delivery.stress == "content" else 10
    )
    samples = sound.resampled(samples, SAMPLE_RATE * size, OUTPUT_RATE)
    part = sound.spoken_part(samples, OUTPUT_RATE)
    samples = samples[part]
    for layer in (_OLD_AGE if voice.age == "elderly" else None, colour):
        if layer is not None:
            samples = _coloured(samples, layer, strength if layer is colour else 1.0, rng)
    samples = _with_loudness(samples, delivery, rng)
    samples = _with_artefact(samples, delivery.artefact, rng)
    decibels = _QUIET_DB + (_LOUD_DB - _QUIET_DB) * delivery.level
    finished = sound.levelled(samples, OUTPUT_RATE, decibels)
    factor = OUTPUT_RATE / (SAMPLE_RATE * size)
    return Speech(
        samples=(np.round(finished * 32767) / 32768).astype(np.float32),
        stressed=[
            (round(start * factor) - part.start, round(end * factor) - part.start)
            for start, end in spans
        ],
    )


def _strength(delivery: Delivery) -> float:
    """Even a weak emotion can be distinguished from another: strength ranges from 0.3 to 1."""
    return 0.3 + 0.7 * delivery.intensity


def _words_per_minute(delivery: Delivery, colour: _Colour, strength: float, size: float) -> int:
    pace = _SLOW_WPM * (_FAST_WPM / _SLOW_WPM) ** delivery.rate
    # Resampling by `size` shortens the clip by as much.
    return round(float(np.clip(pace * colour.pace**strength / size, 80, 400)))


def _pitch_settings(
    voice: Voice, delivery: Delivery, semitones: float, size: float, language: str
) -> dict[str, int]:
    """espeak-ng's pitch (0-99) and pitch range (0-99) for the wanted base in Hz and semitones."""
    base = voice.base_pitch * 2 ** (semitones / 12) / size
    low, high = voice.variant_pitch
    wanted = _MONOTONE_SEMITONES + delivery.pitch_range * (_LIVELY_SEMITONES - _MONOTONE_SEMITONES)
    hertz = base * (2 ** (wanted / 12) - 1)
    pitch_range = float(np.clip(50 * hertz / (high - low), 0, 99))
    # espeak-ng raises the mean pitch of a line with its range; this compensates.
    lift = _RANGE_LIFT[language] * wanted
    pitch = 50 + 50 * (np.log2(base / low) - lift / 12)
    return {"pitch": round(float(np.clip(pitch, 0, 99))), "pitch_range": round(pitch_range)}


def _stressed_spans(utterance: Utterance, stressed: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Character spans of the SSML → sample spans."""
    starts = [sample for _, sample in utterance.words] + [len(utterance.samples)]
    spans = []
    for index, (offset, sample) in enumerate(utterance.words):
        if any(first <= offset < last for first, last in stressed):
            spans.append((sample, starts[index + 1]))
    return spans


def _coloured(
    samples: np.ndarray, colour: _Colour, strength: float, rng: np.random.Generator
) -> np.ndarray:
    if colour.drive:
        samples = sound.driven(samples, colour.drive * strength)
    if colour.tilt:
        samples = sound.tilted(samples, OUTPUT_RATE, colour.tilt * strength)
    if colour.breath:
        samples = sound.breathy(samples, OUTPUT_RATE, colour.breath * strength, rng)
    hertz, depth, semitones = colour.tremor
    if hertz:
        tremor = (hertz, depth * strength, semitones * strength)
        samples = sound.trembling(samples, OUTPUT_RATE, tremor, rng.uniform(0, 2 * np.pi))
    return samples


def _with_loudness(samples: np.ndarray, delivery: Delivery, rng: np.random.Generator) -> np.ndarray:
    samples = sound.evened(samples, OUTPUT_RATE, 0.7 * (1 - delivery.loudness_range))
    return sound.swelled(
        samples,
        OUTPUT_RATE,
        depth=_SWELL_DB * delivery.loudness_range,
        period=rng.uniform(1.1, 1.5),
        phase=rng.uniform(0, 2 * np.pi),
    )


def _with_artefact(samples: np.ndarray, artefact: str, rng: np.random.Generator) -> np.ndarray:
    match artefact:
        case "noise":
            return sound.noisy(samples, OUTPUT_RATE, rng)
        case "clipping":
            return sound.clipped(samples, OUTPUT_RATE)
        case "robotic":
            return sound.robotic(samples, OUTPUT_RATE)
        case "dropouts":
            return sound.with_dropouts(samples, OUTPUT_RATE, rng)
    return samples
