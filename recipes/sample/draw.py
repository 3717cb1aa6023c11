"""Draws deliveries at random, or with the habits of a simulated speech system."""

from dataclasses import dataclass

import numpy as np

from recipes.sample.context import Moment, Nature, pick
from recipes.sample.speech import ARTEFACTS, EMOTIONS, PAUSES, STRESSES, Delivery
from recipes.sample.voices import AGES, SEXES, VOICES, voices_of

_SEX_KEPT, _AGE_KEPT, _EMOTION_KEPT = 0.2, 0.35, 0.35
"""Probability that a delivery fits the text by design, in addition to chance."""


@dataclass(frozen=True, kw_only=True)
class System:
    """The habits of a simulated speech system.

    Attributes:
        floor: lowest value of a property it tends to overdo.
        ceiling: highest value of a property it cannot reach.
        pauses: shares of `PAUSES`.
        artefacts: shares of `ARTEFACTS`.
    """

    floor: dict[str, float]
    ceiling: dict[str, float]
    pauses: tuple[float, float, float] = (0.4, 0.35, 0.25)
    artefacts: tuple[float, float, float, float, float] = (0.6, 0.1, 0.1, 0.1, 0.1)


SYSTEMS: dict[str, System] = {
    "aspen": System(floor={}, ceiling={}),
    "birch": System(floor={}, ceiling={"pitch_range": 0.8, "loudness_range": 0.85}),
    "cedar": System(floor={}, ceiling={}, pauses=(0.25, 0.25, 0.5)),
    "maple": System(floor={"intensity": 0.2, "loudness_range": 0.15, "level": 0.1}, ceiling={}),
    "rowan": System(floor={}, ceiling={}, artefacts=(0.3, 0.2, 0.15, 0.2, 0.15)),
}
"""By name: no habit, flat, broken pauses, overdone, faulty recordings."""


def draw_delivery(
    rng: np.random.Generator,
    split: str = "pretraining",
    *,
    system: str | None = None,
    nature: Nature | None = None,
    moment: Moment | None = None,
) -> Delivery:
    """A delivery in one of the split's voices.

    Without `nature` and `moment` all properties are drawn uniformly and independently. With them, voice and
    emotion match the text more often than by chance; the other properties do not depend on the text, so that
    every required level occurs with every delivered level.

    Raises:
        ValueError: unknown split.
    """
    habits = SYSTEMS[system] if system else SYSTEMS["aspen"]
    even = system is None

    def amount(name: str) -> float:
        # Values near the ends are the most frequent, so that cases are clear and the full scale is used.
        value = float(rng.beta(0.7, 0.7))
        low, high = habits.floor.get(name, 0.0), habits.ceiling.get(name, 1.0)
        return round(low + (high - low) * value, 3)

    return Delivery(
        voice=_voice(rng, split, nature),
        pitch_range=amount("pitch_range"),
        rate=amount("rate"),
        pauses=_one_of(rng, PAUSES, None if even else habits.pauses),
        stress=_one_of(rng, STRESSES, None if even else (0.4, 0.4, 0.2)),
        loudness_range=amount("loudness_range"),
        level=amount("level"),
        emotion=_emotion(rng, moment),
        intensity=amount("intensity"),
        artefact=_one_of(rng, ARTEFACTS, None if even else habits.artefacts),
    )


def _voice(rng: np.random.Generator, split: str, nature: Nature | None) -> str:
    sex, age = pick(rng, SEXES), pick(rng, AGES)
    if nature is not None:
        sex = nature.sex if rng.random() < _SEX_KEPT else sex
        age = nature.age if rng.random() < _AGE_KEPT else age
    keys = voices_of(split)
    return pick(rng, [key for key in keys if VOICES[key].sex == sex and VOICES[key].age == age])


def _emotion(rng: np.random.Generator, moment: Moment | None) -> str:
    emotion = pick(rng, EMOTIONS)
    if moment is not None and rng.random() < _EMOTION_KEPT:
        return moment.emotion
    return emotion


def _one_of(
    rng: np.random.Generator, choices: tuple[str, ...], shares: tuple[float, ...] | None
) -> str:
    return str(choices[int(rng.choice(len(choices), p=shares))])
