"""The distance of a delivery from what a text requires, property by property.

Every comparison gives a distance between 0 (the delivery meets the requirement) and 1 (it does the opposite), and
the direction in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recipes.sample.context import Context
from recipes.sample.speech import Delivery
from recipes.sample.voices import AGES, VOICES


@dataclass(frozen=True, kw_only=True)
class Item:
    """A clip and a text: the delivery and what the text requires."""

    delivery: Delivery
    context: Context
    transcript: str
    language: str


def emotion_strength(delivery: Delivery) -> float:
    """The intensity of the delivered emotion, 0 to 1; 0 for a neutral delivery."""
    return 0.0 if delivery.emotion == "neutral" else delivery.intensity


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """A property on a scale shared by delivery and text, and the words for more and for less of it."""

    delivered: Callable[[Item], float]
    required: Callable[[Item], float]
    more: str
    less: str

    def difference(self, item: Item) -> float:
        """The delivered value minus the required one, -1 to 1."""
        return self.delivered(item) - self.required(item)

    def compare(self, item: Item) -> tuple[float, str]:
        """The distance, 0 to 1, and the word for its direction."""
        difference = self.difference(item)
        return abs(difference), self.more if difference > 0 else self.less


_SCALES: Mapping[str, _Scale] = {
    "pitch": _Scale(
        delivered=lambda item: item.delivery.pitch_range,
        required=lambda item: item.context.nature.lively,
        more="too lively",
        less="too flat",
    ),
    "swing": _Scale(
        delivered=lambda item: item.delivery.loudness_range,
        required=lambda item: item.context.nature.dynamic,
        more="too stormy",
        less="too even",
    ),
    "pace": _Scale(
        delivered=lambda item: item.delivery.rate,
        required=lambda item: item.context.moment.urgent,
        more="too fast",
        less="too slow",
    ),
    "level": _Scale(
        delivered=lambda item: item.delivery.level,
        required=lambda item: item.context.moment.loud,
        more="too loud",
        less="too soft",
    ),
    "energy": _Scale(
        delivered=lambda item: (item.delivery.level + item.delivery.rate) / 2,
        required=lambda item: item.context.nature.energetic,
        more="too forceful",
        less="too gentle",
    ),
    "strength": _Scale(
        delivered=lambda item: emotion_strength(item.delivery),
        required=lambda item: item.context.moment.intensity,
        more="too strong",
        less="too weak",
    ),
}


#: The comparisons on a scale, whose direction is a sign.
GRADED_COMPARISONS = tuple(_SCALES)


def differences(item: Item) -> list[float]:
    """The delivered minus the required value of every graded property, each -1 to 1."""
    return [scale.difference(item) for scale in _SCALES.values()]


def _compare_pauses(item: Item) -> tuple[float, str]:
    if item.delivery.pauses == "broken":
        return 1.0, "broken"
    required = "none" if item.context.moment.urgent else "natural"
    if item.delivery.pauses == required:
        return 0.0, ""
    return 0.5, "without pauses" if required == "natural" else "with pauses"


def _compare_stress(item: Item) -> tuple[float, str]:
    if item.delivery.stress == "misplaced":
        return 1.0, "misplaced"
    required = "content" if item.context.nature.emphatic else "none"
    if item.delivery.stress == required:
        return 0.0, ""
    return 0.5, "too plain" if required == "content" else "too heavy"


def _compare_emotion(item: Item) -> tuple[float, str]:
    delivered, required = item.delivery.emotion, item.context.moment.emotion
    if delivered == required:
        return 0.0, ""
    return (0.7 if "neutral" in (delivered, required) else 1.0), f"{delivered} for {required}"


def _compare_voice(item: Item) -> tuple[float, str]:
    voice, nature = VOICES[item.delivery.voice], item.context.nature
    years = AGES.index(voice.age) - AGES.index(nature.age)
    age = min(abs(years), 2) / 2
    if voice.sex != nature.sex:
        return 0.6 + 0.4 * age, f"a {voice.sex}"
    return 0.7 * age, "too old" if years > 0 else "too young"


#: The comparisons by name; each returns the distance and the words for the direction.
COMPARISONS: Mapping[str, Callable[[Item], tuple[float, str]]] = {
    **{name: scale.compare for name, scale in _SCALES.items()},
    "pauses": _compare_pauses,
    "stress": _compare_stress,
    "emotion": _compare_emotion,
    "voice": _compare_voice,
}


def distances(item: Item) -> list[float]:
    """The distance of the delivery from the requirement in every comparison, each 0 to 1."""
    return [compare(item)[0] for compare in COMPARISONS.values()]


#: The comparisons of each dimension of the realism rubric.
UNDER_DIMENSION: Mapping[str, tuple[str, ...]] = {
    "pitch_dynamics": ("pitch",),
    "rhythmic_naturalness": ("pace", "pauses"),
    "stress_emphasis": ("stress",),
    "emotion_accuracy": ("emotion",),
    "emotion_intensity": ("strength",),
    "emotional_dynamic_range": ("swing",),
    "voice_identity_matching": ("voice",),
    "trait_embodiment": ("energy", "pitch", "swing"),
    "local_scene_fit": ("level", "pace", "emotion"),
    "global_story_fit": ("voice", "emotion", "energy", "stress"),
}


def distance(item: Item, dimension: str) -> float:
    """The mean distance over the comparisons of a dimension, 0 to 1."""
    parts = [COMPARISONS[name](item)[0] for name in UNDER_DIMENSION[dimension]]
    return sum(parts) / len(parts)
