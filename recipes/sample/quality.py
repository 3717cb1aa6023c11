"""The latent quality of a delivery for a text, from which the simulated ratings are drawn.

Every quality is mainly the fit between what the text requires and what the audio delivers. A part
(`_CRAFT`) depends on the audio alone: people rate a fluent voice higher, and a stumbling or faulty one lower, in any
scene and on every dimension. Therefore neither text nor audio alone determines the ratings.
"""

from recipes.sample.context import Moment, Nature
from recipes.sample.speech import Delivery
from recipes.sample.voices import AGES, VOICES

REALISM = (
    "pitch_variation",
    "rhythmic_naturalness",
    "stress_and_emphasis",
    "emotion_accuracy",
    "emotion_intensity_control",
    "dynamic_range",
    "voice_identity_matching",
    "trait_embodiment",
    "local_story_fit",
    "global_story_coherence",
)
"""Annotation fields of a realism record."""

ARCHETYPE = ("audio_quality", "human_likeness", "appropriateness")
"""Graded annotation fields of an archetype record; `content_pass` comes before them."""

_CRAFT = 0.4
"""Share of a realism quality that depends on the sound alone."""

_HALO = 0.5
"""Share of the craft that is the same for all dimensions: a clean recording, an easy flow."""

# Emotions in a ring: neighbours share energy or pleasantness and are forgiven in part.
_RING = ("neutral", "sadness", "fear", "anger", "joy")
_NEIGHBOUR, _STRANGER = 0.4, 0.0

_CLEANNESS = {"none": 1.0, "robotic": 0.5, "noise": 0.4, "clipping": 0.2, "dropouts": 0.0}
_FLOW = {"natural": 1.0, "none": 0.6, "broken": 0.0}
_STRESS = {"content": 1.0, "none": 0.5, "misplaced": 0.0}


def realism_quality(nature: Nature, moment: Moment, delivery: Delivery) -> dict[str, float]:
    """Latent quality on each realism dimension, 1 to 5."""
    fits = _realism_fits(nature, moment, delivery)
    craft = _craft(delivery)
    halo = (_CLEANNESS[delivery.artefact] + _FLOW[delivery.pauses]) / 2
    return {
        dimension: 1
        + 4
        * _spread(
            (1 - _CRAFT) * fits[dimension]
            + _CRAFT * ((1 - _HALO) * craft[dimension] + _HALO * halo),
            1.25,
        )
        for dimension in REALISM
    }


def _realism_fits(nature: Nature, moment: Moment, delivery: Delivery) -> dict[str, float]:
    """How well the audio fits what the text requires, 0 to 1."""
    emotion = _emotion_fit(moment.emotion, delivery.emotion)
    level = _fit(moment.loud, delivery.level)
    identity = _identity_fit(nature, delivery)
    trait = _spread(_fit(nature.energetic, (delivery.rate + delivery.level) / 2), 1.5)
    return {
        "pitch_variation": _fit(nature.lively, delivery.pitch_range),
        "rhythmic_naturalness": _rhythm_fit(moment.urgent, delivery),
        "stress_and_emphasis": _stress_fit(nature.emphatic, delivery.stress),
        "emotion_accuracy": emotion,
        "emotion_intensity_control": _fit(moment.intensity, _strength(delivery)),
        "dynamic_range": _fit(nature.dynamic, delivery.loudness_range),
        "voice_identity_matching": identity,
        "trait_embodiment": trait,
        "local_story_fit": _spread(0.65 * level + 0.35 * emotion, 1.3),
        "global_story_coherence": _spread(0.5 * identity + 0.5 * trait, 1.3),
    }


def _craft(delivery: Delivery) -> dict[str, float]:
    """What is prized in each respect whatever the text, 0 to 1."""
    clean, flow = _CLEANNESS[delivery.artefact], _FLOW[delivery.pauses]
    return {
        "pitch_variation": delivery.pitch_range,
        "rhythmic_naturalness": flow,
        "stress_and_emphasis": _STRESS[delivery.stress],
        "emotion_accuracy": _strength(delivery),
        "emotion_intensity_control": _strength(delivery),
        "dynamic_range": delivery.loudness_range,
        "voice_identity_matching": clean,
        "trait_embodiment": delivery.level,
        "local_story_fit": flow,
        "global_story_coherence": clean,
    }


def _strength(delivery: Delivery) -> float:
    return 0.0 if delivery.emotion == "neutral" else delivery.intensity


def archetype_quality(moment: Moment, delivery: Delivery) -> dict[str, float]:
    """Latent quality on each graded archetype dimension, 1 to 5."""
    clean = _CLEANNESS[delivery.artefact]
    machine = 0.3 if delivery.artefact == "robotic" else 1.0
    fits = {
        "audio_quality": clean,
        "human_likeness": (0.55 * _FLOW[delivery.pauses] + 0.45 * delivery.pitch_range) * machine,
        "appropriateness": _spread(
            0.6 * _emotion_fit(moment.emotion, delivery.emotion)
            + 0.4 * _fit(moment.loud, delivery.level),
            1.2,
        ),
    }
    return {dimension: 1 + 4 * fits[dimension] for dimension in ARCHETYPE}


def _fit(wanted: float, given: float) -> float:
    return 1.0 - abs(wanted - given)


def _spread(fit: float, factor: float) -> float:
    """Stretched about the middle: means of several fits would else crowd there."""
    return min(1.0, max(0.0, 0.5 + factor * (fit - 0.5)))


def _emotion_fit(wanted: str, given: str) -> float:
    steps = abs(_RING.index(wanted) - _RING.index(given))
    return (1.0, _NEIGHBOUR, _STRANGER)[min(steps, len(_RING) - steps)]


def _rhythm_fit(urgent: int, delivery: Delivery) -> float:
    # Hesitations are neither the rush an urgent scene wants nor the ease of a calm one.
    haste = {"none": 1.0, "natural": 0.0, "broken": 0.5}[delivery.pauses]
    return _fit(urgent, 0.6 * delivery.rate + 0.4 * haste)


def _stress_fit(emphatic: int, stress: str) -> float:
    if stress == "misplaced":
        return 0.25
    return 1.0 if (stress == "content") == bool(emphatic) else 0.1


def _identity_fit(nature: Nature, delivery: Delivery) -> float:
    voice = VOICES[delivery.voice]
    steps = abs(AGES.index(voice.age) - AGES.index(nature.age))
    return 0.5 * (voice.sex == nature.sex) + 0.5 * (1.0, 0.35, 0.1, 0.0)[steps]
