"""Second stage, what is asked: to name what is heard, what the text calls for, and how the two compare.

All answers are words. How far a delivery is from what the text calls for is said with the same few words
for every property (`DISTANCES`), followed by the direction. The digits occur only as answers to counting
questions, which have nothing to do with quality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dramaeval.data.synthesis.context import Context, pick
from dramaeval.data.synthesis.speech import Delivery
from dramaeval.data.synthesis.voices import AGES, VOICES
from dramaeval.tasks.rubric import Rubric

#: From a delivery that does what the text calls for to one that does the opposite.
DISTANCES = ("fitting", "slightly", "somewhat", "clearly", "far")


@dataclass(frozen=True, kw_only=True)
class Item:
    """A clip beside a text: what is heard and what is called for."""

    delivery: Delivery
    context: Context
    transcript: str
    language: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about an item.

    Attributes:
        kind: `hear:…`, `read:…`, `compare:…`, `rubric:…` or `count:…`, under which accuracy is counted.
        text: the question.
        answer: the words.
    """

    kind: str
    text: str
    answer: str


def _level(value: float, words: tuple[str, ...]) -> str:
    """The word for a value between 0 and 1, the range shared out evenly."""
    return words[min(int(value * len(words)), len(words) - 1)]


_HEARD_LEVELS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # property: (phrasings, words from 0 to 1)
    "pitch_range": (
        ("How much does the pitch move?", "How lively is the melody of the voice?"),
        ("monotone", "flat", "moderate", "lively", "soaring"),
    ),
    "rate": (
        ("How fast is the speech?", "What is the pace?"),
        ("slow", "unhurried", "moderate", "brisk", "fast"),
    ),
    "loudness_range": (
        ("How much does the loudness swing?", "How much does the energy swell and ebb?"),
        ("level", "even", "moderate", "swelling", "stormy"),
    ),
    "level": (
        ("How loud is the voice?", "Is the voice hushed or raised?"),
        ("hushed", "soft", "moderate", "raised", "loud"),
    ),
    "intensity": (
        ("How strong is the feeling in the voice?", "How intense is the emotion that is heard?"),
        ("faint", "mild", "moderate", "strong", "overwhelming"),
    ),
}

_HEARD_NAMES: dict[str, tuple[str, ...]] = {
    "pauses": ("How are the pauses?", "Where does the voice pause?"),
    "stress": ("Which words are stressed?", "Where does the stress fall?"),
    "emotion": ("Which feeling is heard?", "What emotion colours the voice?"),
    "artefact": ("What is wrong with the recording?", "Which fault does the sound have?"),
    "sex": ("Is it the voice of a woman or of a man?", "Who speaks, a woman or a man?"),
    "age": ("How old is the voice?", "Which age does the voice have?"),
    "language": ("Which language is spoken?", "In what language is the line?"),
}
_PAUSE_WORDS = {"natural": "natural", "none": "absent", "broken": "broken"}
_STRESS_WORDS = {"content": "key words", "none": "none", "misplaced": "small words"}
_LANGUAGE_WORDS = {"en": "English", "zh": "Mandarin"}

_CALLED_FLAGS: dict[str, tuple[tuple[str, ...], tuple[str, str]]] = {
    "lively": (
        ("Which melody does the character call for?", "Should the pitch be flat or lively?"),
        ("flat", "lively"),
    ),
    "dynamic": (
        (
            "Which swing of loudness does the character call for?",
            "Should the energy be even or stormy?",
        ),
        ("even", "stormy"),
    ),
    "energetic": (
        (
            "How much energy does the character call for?",
            "Should the manner be gentle or forceful?",
        ),
        ("gentle", "forceful"),
    ),
    "emphatic": (
        ("Does the character stress words?", "Should key words be stressed?"),
        ("no", "yes"),
    ),
    "urgent": (
        ("Which pace does the scene call for?", "Should the line be slow or fast?"),
        ("slow", "fast"),
    ),
    "loud": (
        ("Which loudness does the place call for?", "Should the voice be hushed or loud?"),
        ("hushed", "loud"),
    ),
}


def heard_emotion_strength(delivery: Delivery) -> float:
    """How much feeling is in the voice; none in a neutral one."""
    return 0.0 if delivery.emotion == "neutral" else delivery.intensity


def _signed(difference: float, above: str, below: str) -> tuple[float, str]:
    return abs(difference), above if difference > 0 else below


def _compare_pitch(item: Item) -> tuple[float, str]:
    return _signed(item.delivery.pitch_range - item.context.nature.lively, "too lively", "too flat")


def _compare_swing(item: Item) -> tuple[float, str]:
    difference = item.delivery.loudness_range - item.context.nature.dynamic
    return _signed(difference, "too stormy", "too even")


def _compare_pace(item: Item) -> tuple[float, str]:
    return _signed(item.delivery.rate - item.context.moment.urgent, "too fast", "too slow")


def _compare_level(item: Item) -> tuple[float, str]:
    return _signed(item.delivery.level - item.context.moment.loud, "too loud", "too soft")


def _compare_energy(item: Item) -> tuple[float, str]:
    energy = (item.delivery.level + item.delivery.rate) / 2
    return _signed(energy - item.context.nature.energetic, "too forceful", "too gentle")


def _compare_pauses(item: Item) -> tuple[float, str]:
    if item.delivery.pauses == "broken":
        return 1.0, "broken"
    wanted = "none" if item.context.moment.urgent else "natural"
    if item.delivery.pauses == wanted:
        return 0.0, ""
    return 0.5, "without pauses" if wanted == "natural" else "with pauses"


def _compare_stress(item: Item) -> tuple[float, str]:
    if item.delivery.stress == "misplaced":
        return 1.0, "misplaced"
    wanted = "content" if item.context.nature.emphatic else "none"
    if item.delivery.stress == wanted:
        return 0.0, ""
    return 0.5, "too plain" if wanted == "content" else "too heavy"


_HIGH = {"joy": True, "anger": True, "fear": True, "sadness": False}


def _compare_emotion(item: Item) -> tuple[float, str]:
    heard, wanted = item.delivery.emotion, item.context.moment.emotion
    if heard == wanted:
        return 0.0, ""
    return (0.7 if "neutral" in (heard, wanted) else 1.0), f"{heard} for {wanted}"


def _compare_strength(item: Item) -> tuple[float, str]:
    difference = heard_emotion_strength(item.delivery) - item.context.moment.intensity
    return _signed(difference, "too strong", "too weak")


def _compare_voice(item: Item) -> tuple[float, str]:
    voice, nature = VOICES[item.delivery.voice], item.context.nature
    years = AGES.index(voice.age) - AGES.index(nature.age)
    age = min(abs(years), 2) / 2
    if voice.sex != nature.sex:
        return 0.6 + 0.4 * age, f"a {voice.sex}"
    return 0.7 * age, "too old" if years > 0 else "too young"


#: Each comparison: what is asked in short, and how far off and in which direction the delivery is.
COMPARISONS: dict[str, tuple[tuple[str, ...], Callable[[Item], tuple[float, str]]]] = {
    "pitch": (
        (
            "How does the melody compare with what the character calls for?",
            "Does the pitch move as it should?",
        ),
        _compare_pitch,
    ),
    "swing": (
        (
            "How does the swing of energy compare with what the character calls for?",
            "Does the loudness swing as it should?",
        ),
        _compare_swing,
    ),
    "pace": (
        (
            "How does the pace compare with what the scene calls for?",
            "Is the pace as it should be?",
        ),
        _compare_pace,
    ),
    "pauses": (
        (
            "How do the pauses compare with what the scene calls for?",
            "Are the pauses as they should be?",
        ),
        _compare_pauses,
    ),
    "stress": (
        (
            "How does the stress compare with what the character calls for?",
            "Is the stress as it should be?",
        ),
        _compare_stress,
    ),
    "emotion": (
        (
            "How does the feeling compare with what the scene calls for?",
            "Is it the feeling that the scene calls for?",
        ),
        _compare_emotion,
    ),
    "strength": (
        (
            "How does the strength of feeling compare with what the scene calls for?",
            "Is the feeling as strong as it should be?",
        ),
        _compare_strength,
    ),
    "level": (
        (
            "How does the loudness compare with what the place calls for?",
            "Is the voice as loud as the place asks?",
        ),
        _compare_level,
    ),
    "energy": (
        (
            "How does the manner compare with the traits of the character?",
            "Is the manner as forceful as the character?",
        ),
        _compare_energy,
    ),
    "voice": (
        (
            "How does the voice compare with the character's age and sex?",
            "Could this be the voice of the character?",
        ),
        _compare_voice,
    ),
}

#: Which comparisons belong under which dimension of the realism rubric.
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


def in_words(distance: float, direction: str) -> str:
    """A distance between 0 and 1 as words, e.g. `clearly too flat`."""
    word = _level(distance, DISTANCES)
    return word if word == "fitting" else f"{word} {direction}"


def hear(item: Item, rng: np.random.Generator) -> Question:
    """Name one property of the sound."""
    names = [*_HEARD_LEVELS, *_HEARD_NAMES]
    name = pick(rng, names)
    if name == "intensity" and item.delivery.emotion == "neutral":
        name = "emotion"
    if name in _HEARD_LEVELS:
        phrasings, words = _HEARD_LEVELS[name]
        answer = _level(getattr(item.delivery, name), words)
    else:
        phrasings = _HEARD_NAMES[name]
        answer = _heard_name(item, name)
    return Question(kind=f"hear:{name}", text=pick(rng, phrasings), answer=answer)


def _heard_name(item: Item, name: str) -> str:
    if name == "language":
        return _LANGUAGE_WORDS[item.language]
    if name in ("sex", "age"):
        return str(getattr(VOICES[item.delivery.voice], name))
    value = str(getattr(item.delivery, name))
    return {"pauses": _PAUSE_WORDS, "stress": _STRESS_WORDS}.get(name, {}).get(value, value)


def read(item: Item, rng: np.random.Generator) -> Question:
    """Say what the text calls for."""
    nature, moment = item.context.nature, item.context.moment
    name = pick(rng, [*_CALLED_FLAGS, "emotion", "intensity", "sex", "age"])
    if name in _CALLED_FLAGS:
        phrasings, words = _CALLED_FLAGS[name]
        value = getattr(nature, name) if hasattr(nature, name) else getattr(moment, name)
        return Question(kind=f"read:{name}", text=pick(rng, phrasings), answer=words[value])
    if name == "emotion":
        text = pick(
            rng, ("Which feeling does the scene call for?", "What should the character feel?")
        )
        return Question(kind="read:emotion", text=text, answer=moment.emotion)
    if name == "intensity":
        strength = (
            "none"
            if moment.emotion == "neutral"
            else ("restrained", "overwhelming")[moment.intensity]
        )
        text = pick(
            rng,
            (
                "How strong should the feeling be?",
                "Which strength of feeling does the scene call for?",
            ),
        )
        return Question(kind="read:intensity", text=text, answer=strength)
    text = {
        "sex": ("Is the character a woman or a man?", "Who is the character, a woman or a man?"),
        "age": ("How old is the character?", "Which age does the character have?"),
    }[name]
    return Question(kind=f"read:{name}", text=pick(rng, text), answer=str(getattr(nature, name)))


def compare(item: Item, rng: np.random.Generator) -> Question:
    """Say how the sound compares with what the text calls for."""
    name = pick(rng, list(COMPARISONS))
    phrasings, distance = COMPARISONS[name]
    return Question(
        kind=f"compare:{name}", text=pick(rng, phrasings), answer=in_words(*distance(item))
    )


_SMALL_COUNTS = ("How many commas does the line have?", "How many commas are in the line?")
_WORD_COUNTS = ("How many words does the scene's last clause have?",)


def count(item: Item, rng: np.random.Generator) -> Question:
    """Count something in the text that has nothing to do with how well the line is spoken."""
    letters = sorted({c for c in item.transcript.lower() if c.isalpha()})
    letter = pick(rng, letters)
    number = min(item.transcript.lower().count(letter), 9)
    return Question(
        kind="count:letter",
        text=f"How many times does the line have the letter {letter}?",
        answer=str(number),
    )


_ENDINGS = (
    "Answer in words as <answer>words</answer>.",
    "Answer with words, not with a score, as <answer>words</answer>.",
    "Say it in words as <answer>words</answer>.",
)


def under_rubric(item: Item, rng: np.random.Generator, rubric: Rubric, dimension: str) -> Question:
    """A comparison asked under the rubric's own text for a dimension, in words instead of a score."""
    name = pick(rng, UNDER_DIMENSION[dimension])
    phrasings, distance = COMPARISONS[name]
    one = rubric[dimension]
    lines = "\n".join(rubric.score_line.format(score=k, meaning=one.scores[k]) for k in one.scale)
    text = f"{one.title}: {one.description}\n{lines}\n{pick(rng, phrasings)} {pick(rng, _ENDINGS)}"
    return Question(kind=f"rubric:{dimension}:{name}", text=text, answer=in_words(*distance(item)))
