"""Six simulated raters: their own bias, spread, use of the scale, and gaps."""

from dataclasses import dataclass

import numpy as np

Rating = int | str | None
"""1 to 5, or a gap: None (null in JSON) or "N/A"."""


@dataclass(frozen=True, kw_only=True)
class Rater:
    """One person's habits.

    Attributes:
        bias: added to every quality.
        stretch: use of the scale; below 1 the rater stays near the middle.
        spread: standard deviation of the noise of a single rating.
        mood: standard deviation of a noise shared by all ratings of one clip (halo).
        gap: share of ratings left out.
    """

    bias: float
    stretch: float
    spread: float
    mood: float
    gap: float


RATERS = (
    Rater(bias=0.0, stretch=1.0, spread=0.55, mood=0.15, gap=0.01),
    Rater(bias=0.35, stretch=0.9, spread=0.65, mood=0.2, gap=0.02),
    Rater(bias=-0.4, stretch=1.0, spread=0.75, mood=0.25, gap=0.03),
    Rater(bias=0.2, stretch=0.75, spread=0.6, mood=0.2, gap=0.04),
    Rater(bias=-0.1, stretch=1.2, spread=0.95, mood=0.3, gap=0.02),
    Rater(bias=0.0, stretch=1.1, spread=1.15, mood=0.3, gap=0.05),
)

_HARDNESS = {
    "stress_and_emphasis": 1.7,
    "emotion_accuracy": 1.7,
    "emotion_intensity_control": 1.35,
    "voice_identity_matching": 1.1,
    "rhythmic_naturalness": 0.9,
    "audio_quality": 1.1,
    "human_likeness": 0.9,
}
"""Factor on the spread where people find a dimension harder or easier to rate than others."""


def rate(qualities: dict[str, float], rng: np.random.Generator) -> dict[str, list[Rating]]:
    """All raters' ratings of one clip: a list of six for each dimension."""
    moods = [rng.normal(0.0, rater.mood) for rater in RATERS]
    return {
        dimension: [
            _rating(quality + mood, rater, _HARDNESS.get(dimension, 1.0), rng)
            for rater, mood in zip(RATERS, moods, strict=True)
        ]
        for dimension, quality in qualities.items()
    }


def confidence(rng: np.random.Generator) -> list[int]:
    """How sure each rater says they are of a clip, 1 to 5."""
    return [int(np.clip(np.round(rng.normal(4.4 - rater.spread, 0.6)), 1, 5)) for rater in RATERS]


def content_votes(passes: bool, rng: np.random.Generator) -> list[bool]:
    """Whether each rater lets an archetype clip pass; the noisier the rater, the more slips."""
    return [bool(passes) != bool(rng.random() < 0.02 + 0.03 * rater.spread) for rater in RATERS]


def _rating(quality: float, rater: Rater, hardness: float, rng: np.random.Generator) -> Rating:
    noise = rng.normal(0.0, hardness * rater.spread)
    value = 3 + rater.stretch * (quality - 3) + rater.bias + noise
    missing = rng.random()
    if missing < rater.gap:
        return None if missing < 0.6 * rater.gap else "N/A"
    return int(np.clip(np.round(value), 1, 5))
