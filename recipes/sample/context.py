"""Characters, scenes and lines, and the delivery that they require.

A text requires a delivery through plain cue words (`banks/*.yaml`). Two splits share the cue words and
nothing else: no name, place, topic or sentence frame of `pretraining` occurs in `sample`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes.sample.speech import EMOTIONS
from recipes.sample.voices import AGES, SEXES, SPLITS

_BANKS = {"en": "english.yaml", "zh": "mandarin.yaml"}
_ENGLISH_SHARE = 0.65


@dataclass(frozen=True, kw_only=True)
class Nature:
    """A character's traits, which every line of the character requires; flags are 0 or 1."""

    sex: str
    age: str
    lively: int
    """1: a wide pitch range; 0: a flat voice."""
    dynamic: int
    """1: strong swells of loudness; 0: an even voice."""
    energetic: int
    """1: fast and loud; 0: slow and soft."""
    emphatic: int
    """1: key words stressed; 0: no stress."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The delivery that a scene requires; flags are 0 or 1."""

    urgent: int
    """1: fast, without pauses; 0: slow, with pauses."""
    loud: int
    """1: a noisy place that needs a raised voice; 0: a quiet one that needs a hushed voice."""
    emotion: str
    """One of `speech.EMOTIONS`."""
    intensity: int
    """1: an overwhelming emotion; 0: a restrained one, or none."""


@dataclass(frozen=True, kw_only=True)
class Character:
    """Somebody with a name; `key` is unique within a split."""

    key: str
    name: str
    language: str
    nature: Nature
    char_age: str
    char_style: str
    char_profile: str


@dataclass(frozen=True, kw_only=True)
class Context:
    """One line in its scene: the text fields of a realism record, and the delivery they require."""

    character: Character
    moment: Moment
    local_scene: str
    transcript: str
    topic: str

    @property
    def language(self) -> str:
        """`en` or `zh`."""
        return self.character.language

    @property
    def nature(self) -> Nature:
        """The traits that the character requires."""
        return self.character.nature

    @property
    def char_age(self) -> str:
        """The record's field of that name."""
        return self.character.char_age

    @property
    def char_style(self) -> str:
        """The record's field of that name."""
        return self.character.char_style

    @property
    def char_profile(self) -> str:
        """The record's field of that name."""
        return self.character.char_profile


@dataclass(frozen=True, kw_only=True)
class ArchetypeContext:
    """A role and a situation: the question of an archetype record, and the delivery it requires."""

    language: str
    role: str
    moment: Moment
    question: str
    transcript: str
    topic: str


@functools.cache
def bank(language: str) -> dict[str, Any]:
    """The words of one language.

    Raises:
        ValueError: no bank of that language.
    """
    if language not in _BANKS:
        raise ValueError(f"language must be one of {', '.join(_BANKS)}, not {language!r}.")
    import yaml

    path = Path(__file__).parent / "banks" / _BANKS[language]
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def context(
    rng: np.random.Generator, split: str = "pretraining", language: str | None = None
) -> Context:
    """A random line of a random character; English two times in three unless `language` says.

    Raises:
        ValueError: unknown split or language.
    """
    language = language or draw_language(rng)
    topics = words_of(language, split, "nouns")
    speaker = character(rng, split, language, draw_nature(rng))
    return line(rng, split, speaker, draw_moment(rng), pick(rng, topics))


def draw_language(rng: np.random.Generator) -> str:
    """`en` two times in three, else `zh`."""
    return "en" if rng.random() < _ENGLISH_SHARE else "zh"


def draw_nature(rng: np.random.Generator) -> Nature:
    """Every value as likely as the others, and independent of them."""
    return Nature(
        sex=pick(rng, SEXES),
        age=pick(rng, AGES),
        lively=int(rng.integers(2)),
        dynamic=int(rng.integers(2)),
        energetic=int(rng.integers(2)),
        emphatic=int(rng.integers(2)),
    )


def draw_moment(rng: np.random.Generator) -> Moment:
    """Independent values; half of all moments are intense, and a neutral one never is."""
    emotion = pick(rng, EMOTIONS)
    share = 0.5 * len(EMOTIONS) / (len(EMOTIONS) - 1)
    return Moment(
        urgent=int(rng.integers(2)),
        loud=int(rng.integers(2)),
        emotion=emotion,
        intensity=int(emotion != "neutral" and rng.random() < share),
    )


def character(
    rng: np.random.Generator, split: str, language: str, nature: Nature, name: str | None = None
) -> Character:
    """Somebody of that nature, put into words."""
    cues = bank(language)["cues"]
    name = name or pick(rng, names_of(language, split, nature.sex))
    styles = [
        pick(rng, cues["style"][axis][getattr(nature, axis)])
        for axis in ("lively", "dynamic", "energetic")
    ]
    if rng.random() < 0.5:
        styles.append(pick(rng, cues["filler"]))
    styles = [styles[i] for i in rng.permutation(len(styles))]
    subject = cues["pronouns"][nature.sex][0]
    profile = pick(rng, words_of(language, split, "profiles")).format(
        name=name,
        person=cues["person"][nature.sex][nature.age],
        pursuit=pick(rng, words_of(language, split, "pursuits")),
        emphasis=pick(rng, cues["emphatic"][nature.emphatic]).format(They=subject),
    )
    return Character(
        key=name,
        name=name,
        language=language,
        nature=nature,
        char_age=cues["age"][nature.age],
        char_style=(", " if language == "en" else "，").join(styles),
        char_profile=_capitalised(profile),
    )


def line(
    rng: np.random.Generator, split: str, speaker: Character, moment: Moment, topic: str
) -> Context:
    """A scene with a line about `topic`, which the character speaks."""
    language = speaker.language
    cues = bank(language)["cues"]
    possessive = cues["pronouns"][speaker.nature.sex][1]
    feeling = pick(rng, cues["neutral"])
    if moment.emotion != "neutral":
        feeling = pick(rng, cues["feeling"][moment.intensity]).format(
            their=possessive, emotion=pick(rng, cues["emotion"][moment.emotion])
        )
    place = _place(rng, language, split, moment)
    scene = pick(rng, words_of(language, split, "scenes")).format(
        Place=_capitalised(place),
        place=place,
        name=speaker.name,
        tells=pick(rng, cues["urgent"][moment.urgent]).format(their=possessive),
        listener=pick(rng, words_of(language, split, "listeners")),
        noun=topic,
        feeling=feeling,
        Feeling=_capitalised(feeling),
    )
    return Context(
        character=speaker,
        moment=moment,
        local_scene=_capitalised(scene),
        transcript=sentence(rng, language, split, topic),
        topic=topic,
    )


def archetype(
    rng: np.random.Generator, split: str, language: str, role: str, moment: Moment, topic: str
) -> ArchetypeContext:
    """A role in a situation with a line that answers it; `moment.urgent` plays no part."""
    mood = pick(rng, bank(language)["cues"]["archetype_mood"][moment.emotion])
    place = _place(rng, language, split, moment)
    listener = pick(rng, words_of(language, split, "listeners"))
    question = pick(rng, words_of(language, split, "questions")).format(
        mood=mood,
        role=role,
        place=place,
        Place=_capitalised(place),
        listener=listener,
        Listener=_capitalised(listener),
        noun=topic,
    )
    if language == "en":
        question = _with_articles(question)
    return ArchetypeContext(
        language=language,
        role=role,
        moment=moment,
        question=question,
        transcript=sentence(rng, language, split, topic),
        topic=topic,
    )


def sentence(rng: np.random.Generator, language: str, split: str, topic: str) -> str:
    """A line about `topic` that fits any feeling."""
    frame: str = bank(language)["sentence"]
    return frame.format(
        opening=pick(rng, words_of(language, split, "openings")),
        noun=topic,
        predicate=pick(rng, words_of(language, split, "predicates")),
    )


def words_of(language: str, split: str, kind: str) -> list[str]:
    """One list of a split's words, e.g. its `nouns`.

    Raises:
        ValueError: unknown split or language.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}.")
    words: list[str] = bank(language)["splits"][split][kind]
    return words


def names_of(language: str, split: str, sex: str) -> list[str]:
    """All full names of a split and sex, given names changing fastest."""
    given = words_of(language, split, "women" if sex == "woman" else "men")
    surnames = words_of(language, split, "surnames")
    if language == "zh":
        return [last + first for last in surnames for first in given]
    return [f"{first} {last}" for last in surnames for first in given]


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """One of the choices, all as likely."""
    return choices[int(rng.integers(len(choices)))]


def _place(rng: np.random.Generator, language: str, split: str, moment: Moment) -> str:
    words = bank(language)
    frame: str = words["place"]
    return frame.format(
        loud=pick(rng, words["cues"]["loud"][moment.loud]),
        place=pick(rng, words_of(language, split, "places")),
    )


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _with_articles(text: str) -> str:
    words = text.split(" ")
    for i in range(len(words) - 1):
        if words[i] == "a" and words[i + 1][0] in "aeiou":
            words[i] = "an"
    return " ".join(words)
