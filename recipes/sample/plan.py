"""The plan of the bundled sample, before synthesis: contexts, deliveries, ratings, seeds.

Train, val and test share no character, topic, role, scene or line. What texts call for is balanced
within each of them, and deliveries are drawn apart from it, so that text alone or sound alone says
little about a rating.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes.sample.captions import audio_caption, emotion_caption
from recipes.sample.context import (
    ArchetypeContext,
    Character,
    Context,
    Moment,
    Nature,
    archetype,
    character,
    line,
    names_of,
    pick,
    sentence,
    words_of,
)
from recipes.sample.draw import SYSTEMS, draw_delivery
from recipes.sample.quality import ARCHETYPE, archetype_quality, realism_quality
from recipes.sample.raters import Rating, confidence, content_votes, rate
from recipes.sample.speech import EMOTIONS, Delivery
from recipes.sample.voices import AGES, SEXES

SEED = 2026
PARTS = ("train", "val", "test")
REALISM_LINES = {"train": 220, "val": 40, "test": 60}
ARCHETYPE_LINES = {"train": 110, "val": 20, "test": 30}
CLIPS_A_LINE = 2
"""Number of simulated systems that speak each line."""

_LINES_A_CHARACTER = 2
_LANGUAGE_SHARES = {"en": 0.65, "zh": 0.35}
_PART_SHARES = {"train": 0.68, "val": 0.13, "test": 0.19}
_CONTENT = ("answer", "other topic", "other language")
_CONTENT_SHARES = (0.76, 0.14, 0.10)


@dataclass(frozen=True, kw_only=True)
class Take:
    """One clip to synthesise, and its record.

    Attributes:
        record: the line of the JSONL.
        text: the spoken text, in `language`.
        language: of the speech; differs from the record's when the line is in the wrong one.
        delivery: the controlled properties of the speech.
        seed: seed of the synthesiser.
        latent: quality on each graded dimension, 1 to 5.
        requirements: the delivery that the text requires.
    """

    record: dict[str, Any]
    text: str
    language: str
    delivery: Delivery
    seed: int
    latent: dict[str, float]
    requirements: dict[str, Any]


def plan_realism(part: str) -> list[Take]:
    """All realism clips of `train`, `val` or `test`."""
    rng = np.random.default_rng([SEED, 1, PARTS.index(part)])
    takes: list[Take] = []
    for index, context in enumerate(_realism_contexts(part, rng)):
        for system in _systems(index):
            delivery = draw_delivery(
                rng, "sample", system=system, nature=context.nature, moment=context.moment
            )
            latent = realism_quality(context.nature, context.moment, delivery)
            takes.append(_realism_take(part, index, context, system, delivery, latent, rng))
    return takes


def plan_archetype(part: str) -> list[Take]:
    """All archetype clips of `train`, `val` or `test`."""
    rng = np.random.default_rng([SEED, 2, PARTS.index(part)])
    takes: list[Take] = []
    for index, context in enumerate(_archetype_contexts(part, rng)):
        for system in _systems(index):
            delivery = draw_delivery(rng, "sample", system=system, moment=context.moment)
            content = str(rng.choice(_CONTENT, p=_CONTENT_SHARES))
            takes.append(_archetype_take(part, index, context, system, delivery, content, rng))
    return takes


def _realism_take(
    part: str,
    index: int,
    context: Context,
    system: str,
    delivery: Delivery,
    latent: dict[str, float],
    rng: np.random.Generator,
) -> Take:
    identity = f"realism_{part}_{index:04d}_{system}"
    record = {
        "id": identity,
        "dataset_name": "ROLE",
        "language": context.language,
        "system": system,
        "character": context.character.key,
        "local_scene": context.local_scene,
        "char_age": context.char_age,
        "char_style": context.char_style,
        "char_profile": context.char_profile,
        "transcript": context.transcript,
        "wav_path": f"clips/{identity}.mp3",
        "audio_info": {
            "audio_caption": audio_caption(delivery, context.language),
            "emotion_caption": emotion_caption(delivery),
        },
        "annotations": {**rate(latent, rng), "annotator_confidence_rating": confidence(rng)},
    }
    return Take(
        record=record,
        text=context.transcript,
        language=context.language,
        delivery=delivery,
        seed=int(rng.integers(2**31)),
        latent=latent,
        requirements={**asdict(context.nature), **asdict(context.moment)},
    )


def _archetype_take(
    part: str,
    index: int,
    context: ArchetypeContext,
    system: str,
    delivery: Delivery,
    content: str,
    rng: np.random.Generator,
) -> Take:
    identity = f"archetype_{part}_{index:04d}_{system}"
    latent = archetype_quality(context.moment, delivery)
    text, language = context.transcript, context.language
    if content != "answer":
        if content == "other language":
            language = "zh" if language == "en" else "en"
        topics = [topic for topic in _topics(language, part) if topic != context.topic]
        text = sentence(rng, language, "sample", pick(rng, topics))
    record = {
        "id": identity,
        "dataset_name": "Arche",
        "language": context.language,
        "system": system,
        "character": context.role,
        "question": context.question,
        "wav_path": f"clips/{identity}.mp3",
        "audio_info": {
            "audio_caption": audio_caption(delivery, language),
            "emotion_caption": emotion_caption(delivery),
        },
        "annotations": _archetype_annotations(latent, content == "answer", rng),
    }
    return Take(
        record=record,
        text=text,
        language=language,
        delivery=delivery,
        seed=int(rng.integers(2**31)),
        latent=latent,
        requirements={**asdict(context.moment), "content": content},
    )


def _archetype_annotations(
    latent: dict[str, float], passes: bool, rng: np.random.Generator
) -> dict[str, list[Rating] | list[bool]]:
    """A rater who rejects the content gives no further rating."""
    votes = content_votes(passes, rng)
    graded = rate(latent, rng)
    sure: list[Rating] = list(confidence(rng))

    def kept(ratings: list[Rating]) -> list[Rating]:
        return [rating if vote else None for rating, vote in zip(ratings, votes, strict=True)]

    return {
        "content_pass": votes,
        **{dimension: kept(graded[dimension]) for dimension in ARCHETYPE},
        "confidence": kept(sure),
    }


def _realism_contexts(part: str, rng: np.random.Generator) -> list[Context]:
    contexts = []
    count = REALISM_LINES[part] // _LINES_A_CHARACTER
    moments = iter(_moments(rng, REALISM_LINES[part]))
    spoken: set[str] = set()
    for language, people in _people(part, count, rng).items():
        topics = _dealt(rng, _topics(language, part), len(people) * _LINES_A_CHARACTER)
        for number, speaker in enumerate(people):
            for turn in range(_LINES_A_CHARACTER):
                topic, moment = topics[number * _LINES_A_CHARACTER + turn], next(moments)
                context = line(rng, "sample", speaker, moment, topic)
                while context.transcript in spoken:
                    context = line(rng, "sample", speaker, moment, topic)
                spoken.add(context.transcript)
                contexts.append(context)
    return contexts


def _archetype_contexts(part: str, rng: np.random.Generator) -> list[ArchetypeContext]:
    contexts = []
    moments = iter(_moments(rng, ARCHETYPE_LINES[part]))
    used: set[str] = set()
    for language, count in _by_language(ARCHETYPE_LINES[part]).items():
        topics = _dealt(rng, _topics(language, part), count)
        roles = _dealt(rng, _part_of(words_of(language, "sample", "roles"), part), count)
        for topic, role in zip(topics, roles, strict=True):
            moment = next(moments)
            context = archetype(rng, "sample", language, role, moment, topic)
            while context.question in used:
                context = archetype(rng, "sample", language, role, moment, topic)
            used.add(context.question)
            contexts.append(context)
    return contexts


def _people(part: str, count: int, rng: np.random.Generator) -> dict[str, list[Character]]:
    """Characters by language; no name occurs in two parts."""
    natures = iter(_natures(rng, count))
    people: dict[str, list[Character]] = {}
    for language, share in _by_language(count).items():
        names = {
            sex: iter(_dealt(rng, _part_of(names_of(language, "sample", sex), part), share))
            for sex in SEXES
        }
        people[language] = [
            character(rng, "sample", language, nature, next(names[nature.sex]))
            for nature in [next(natures) for _ in range(share)]
        ]
    return people


def _natures(rng: np.random.Generator, count: int) -> list[Nature]:
    sexes, ages = _dealt(rng, SEXES, count), _dealt(rng, AGES, count)
    flags = [_dealt(rng, (0, 1), count) for _ in range(4)]
    return [
        Nature(sex=sex, age=age, lively=a, dynamic=b, energetic=c, emphatic=d)
        for sex, age, a, b, c, d in zip(sexes, ages, *flags, strict=True)
    ]


def _moments(rng: np.random.Generator, count: int) -> list[Moment]:
    emotions = _dealt(rng, EMOTIONS, count)
    urgent, loud = _dealt(rng, (0, 1), count), _dealt(rng, (0, 1), count)
    # Five of eight emotional moments are intense: half of all, as neutral ones never are.
    intense = _dealt(rng, (1, 0, 1, 0, 1, 1, 0, 1), count)
    return [
        Moment(urgent=u, loud=v, emotion=e, intensity=i if e != "neutral" else 0)
        for u, v, e, i in zip(urgent, loud, emotions, intense, strict=True)
    ]


def _systems(index: int) -> tuple[str, ...]:
    """Which systems speak a line; over the lines every pair is as frequent."""
    names = list(SYSTEMS)
    first, step = index % len(names), 1 + index // len(names) % (len(names) - 1)
    return names[first], names[(first + step) % len(names)]


def _topics(language: str, part: str) -> list[str]:
    return _part_of(words_of(language, "sample", "nouns"), part)


def _part_of(words: Sequence[str], part: str) -> list[str]:
    """The share of a list that belongs to one part."""
    before = sum(_PART_SHARES[other] for other in PARTS[: PARTS.index(part)])
    first, last = before * len(words), (before + _PART_SHARES[part]) * len(words)
    return list(words[round(first) : round(last)])


def _by_language(count: int) -> dict[str, int]:
    english = round(_LANGUAGE_SHARES["en"] * count)
    return {"en": english, "zh": count - english}


def _dealt(rng: np.random.Generator, values: Sequence[Any], count: int) -> list[Any]:
    """`count` values, each as often as the others, in random order."""
    repeats = -(-count // len(values))
    shuffled = [values[i] for _ in range(repeats) for i in rng.permutation(len(values))][:count]
    return [shuffled[i] for i in rng.permutation(count)]
