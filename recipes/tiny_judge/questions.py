"""Questions of the second stage: name the delivery, what the text requires, and how the two compare.

All answers are words. The distance of a delivery from what the text requires uses the same few words
for every property (`DISTANCES`), followed by the direction. The digits occur only as answers to counting
questions, which are independent of quality.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dramaeval.tasks.rubric import Dimension, Rubric
from recipes.sample.context import pick
from recipes.sample.speech import ARTEFACTS, EMOTIONS
from recipes.sample.voices import AGES, SEXES, VOICES
from recipes.tiny_judge.comparisons import COMPARISONS, UNDER_DIMENSION, Item, distance

#: From a delivery that fits the text to one that does the opposite.
DISTANCES = ("fitting", "slightly", "somewhat", "clearly", "far")

#: Short questions by kind: the phrasings of each.
PHRASINGS: Mapping[str, tuple[str, ...]] = {
    "hear:pitch_range": ("How much does the pitch move?", "How lively is the melody of the voice?"),
    "hear:rate": ("How fast is the speech?", "What is the pace?"),
    "hear:loudness_range": (
        "How much does the loudness swing?",
        "How much does the energy swell and ebb?",
    ),
    "hear:level": ("How loud is the voice?", "Is the voice hushed or raised?"),
    "hear:intensity": ("How strong is the feeling in the voice?", "How intense is the emotion?"),
    "hear:pauses": ("How are the pauses?", "Where does the voice pause?"),
    "hear:stress": ("Which words are stressed?", "Where does the stress fall?"),
    "hear:emotion": ("Which feeling is heard?", "What emotion colours the voice?"),
    "hear:artefact": ("What is wrong with the recording?", "Which fault does the sound have?"),
    "hear:sex": ("Is it the voice of a woman or of a man?", "Who speaks, a woman or a man?"),
    "hear:age": ("How old is the voice?", "Which age does the voice have?"),
    "hear:language": ("Which language is spoken?", "In what language is the line?"),
    "read:lively": (
        "Which melody does the character call for?",
        "Should the pitch be flat or lively?",
    ),
    "read:dynamic": (
        "Which swing of loudness does the character call for?",
        "Should the energy be even or stormy?",
    ),
    "read:energetic": (
        "Which manner does the character call for?",
        "Should the manner be gentle or forceful?",
    ),
    "read:emphatic": ("Does the character stress words?", "Should key words be stressed?"),
    "read:urgent": ("Which pace does the scene call for?", "Should the line be slow or fast?"),
    "read:loud": (
        "Which loudness does the place call for?",
        "Should the voice be hushed or loud?",
    ),
    "read:emotion": (
        "Which feeling does the scene call for?",
        "What should the character feel?",
    ),
    "read:intensity": (
        "How strong should the feeling be?",
        "Which strength of feeling does the scene call for?",
    ),
    "read:sex": ("Is the character a woman or a man?", "Who is the character, a woman or a man?"),
    "read:age": ("How old is the character?", "Which age does the character have?"),
    "compare:pitch": (
        "How does the melody compare with what the character calls for?",
        "Does the pitch move as it should?",
    ),
    "compare:swing": (
        "How does the swing of energy compare with what the character calls for?",
        "Does the loudness swing as it should?",
    ),
    "compare:pace": (
        "How does the pace compare with what the scene calls for?",
        "Is the pace as it should be?",
    ),
    "compare:pauses": (
        "How do the pauses compare with what the scene calls for?",
        "Are the pauses as they should be?",
    ),
    "compare:stress": (
        "How does the stress compare with what the character calls for?",
        "Is the stress as it should be?",
    ),
    "compare:emotion": (
        "How does the feeling compare with what the scene calls for?",
        "Is it the feeling that the scene calls for?",
    ),
    "compare:strength": (
        "How does the strength of feeling compare with what the scene calls for?",
        "Is the feeling as strong as it should be?",
    ),
    "compare:level": (
        "How does the loudness compare with what the place calls for?",
        "Is the voice as loud as the place asks?",
    ),
    "compare:energy": (
        "How does the manner compare with the traits of the character?",
        "Is the manner as forceful as the character?",
    ),
    "compare:voice": (
        "How does the voice compare with the character's age and sex?",
        "Could this be the voice of the character?",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about an item.

    Attributes:
        kind: `hear:…`, `read:…`, `compare:…`, `rubric:…` or `count:…`, under which accuracy is counted.
        text: the question.
        answer: the words.
        spread: where the answer is one of ``options``, the share of each.
        options: single tokens.
        distance: of a question under the rubric, the distance of the delivery from the text's requirement, 0 to 1.
    """

    kind: str
    text: str
    answer: str
    spread: tuple[float, ...] | None = None
    options: tuple[str, ...] = DISTANCES
    distance: float | None = None


#: Words for a property between 0 and 1; each stands for a range of the same width.
_LEVELS = {
    "pitch_range": ("monotone", "flat", "moderate", "lively", "soaring"),
    "rate": ("slow", "unhurried", "moderate", "brisk", "fast"),
    "loudness_range": ("level", "even", "moderate", "swelling", "stormy"),
    "level": ("hushed", "soft", "moderate", "raised", "loud"),
    "intensity": ("faint", "mild", "moderate", "strong", "overwhelming"),
}
#: Words for the values of a named property, where they are not the values themselves.
_NAMES = {
    "pauses": {"natural": "natural", "none": "absent", "broken": "broken"},
    "stress": {"content": "key words", "none": "none", "misplaced": "small words"},
    "language": {"en": "English", "zh": "Mandarin"},
}
#: Words for what a text requires: for flag 0 and for flag 1.
_FLAGS = {
    "lively": ("flat", "lively"),
    "dynamic": ("even", "stormy"),
    "energetic": ("gentle", "forceful"),
    "emphatic": ("no", "yes"),
    "urgent": ("slow", "fast"),
    "loud": ("hushed", "loud"),
}
_STRENGTHS = ("restrained", "overwhelming")


#: The answers of the plain questions by kind; for a comparison the word for the distance.
ANSWERS: Mapping[str, tuple[str, ...]] = {
    **{f"hear:{name}": words for name, words in _LEVELS.items()},
    "hear:intensity": ("none", *_LEVELS["intensity"]),
    **{f"hear:{name}": tuple(words.values()) for name, words in _NAMES.items()},
    "hear:emotion": EMOTIONS,
    "hear:artefact": ARTEFACTS,
    **{f"read:{name}": words for name, words in _FLAGS.items()},
    "read:emotion": EMOTIONS,
    "read:intensity": ("none", *_STRENGTHS),
    **{f"{sort}:sex": SEXES for sort in ("hear", "read")},
    **{f"{sort}:age": AGES for sort in ("hear", "read")},
    **{f"compare:{name}": DISTANCES for name in COMPARISONS},
}


def facts(item: Item) -> dict[str, str]:
    """The answers to all short questions by kind, in the order of `PHRASINGS`."""
    answers = {
        **{f"hear:{name}": answer for name, answer in _delivery_answers(item)},
        **{f"read:{name}": answer for name, answer in _required_answers(item)},
        **{f"compare:{name}": _in_words(*compare(item)) for name, compare in COMPARISONS.items()},
    }
    return {kind: answers[kind] for kind in PHRASINGS}


def _delivery_answers(item: Item) -> Iterator[tuple[str, str]]:
    for name, words in _LEVELS.items():
        yield name, _level(getattr(item.delivery, name), words)
    if item.delivery.emotion == "neutral":
        yield "intensity", "none"
    voice = VOICES[item.delivery.voice]
    yield "sex", voice.sex
    yield "age", voice.age
    yield "language", _NAMES["language"][item.language]
    for name in ("pauses", "stress"):
        yield name, _NAMES[name][getattr(item.delivery, name)]
    for name in ("emotion", "artefact"):
        yield name, getattr(item.delivery, name)


def _required_answers(item: Item) -> Iterator[tuple[str, str]]:
    nature, moment = item.context.nature, item.context.moment
    for name, words in _FLAGS.items():
        yield name, words[getattr(nature if hasattr(nature, name) else moment, name)]
    yield "emotion", moment.emotion
    yield "intensity", "none" if moment.emotion == "neutral" else _STRENGTHS[moment.intensity]
    yield "sex", nature.sex
    yield "age", nature.age


def _level(value: float, words: tuple[str, ...]) -> str:
    """The word for a value between 0 and 1; each word stands for a range of the same width."""
    return words[min(int(value * len(words)), len(words) - 1)]


def _in_words(distance: float, direction: str) -> str:
    """A distance between 0 and 1 as words, e.g. `clearly too flat`."""
    word = _level(distance, DISTANCES)
    return word if word == "fitting" else f"{word} {direction}"


#: The share of each sort among the plain questions.
_SORTS = {"hear": 0.3, "read": 0.25, "compare": 0.4, "count": 0.05}


def plain(item: Item, number: int, rng: np.random.Generator) -> list[Question]:
    """Plain questions: the delivery, what the text requires, how they compare, and counts."""
    answers = facts(item)
    drawn = []
    for sort in rng.choice(list(_SORTS), size=number, p=list(_SORTS.values())):
        if sort == "count":
            drawn.append(count(item, rng))
            continue
        kind = pick(rng, [kind for kind in PHRASINGS if kind.startswith(f"{sort}:")])
        drawn.append(Question(kind=kind, text=pick(rng, PHRASINGS[kind]), answer=answers[kind]))
    return drawn


def count(item: Item, rng: np.random.Generator) -> Question:
    """A question that asks to count a letter of the line, which is independent of its delivery."""
    letters = sorted({letter for letter in item.transcript.lower() if letter.isalpha()})
    letter = pick(rng, letters)
    number = min(item.transcript.lower().count(letter), 9)
    text = f"How many times does the line have the letter {letter}?"
    return Question(kind="count:letter", text=text, answer=str(number))


_ENDINGS = (
    "Answer in words as <answer>words</answer>.",
    "Answer with words, not with a score, as <answer>words</answer>.",
    "Say it in words as <answer>words</answer>.",
)


_ONE_WORD_ENDINGS = (
    "Answer with one word from fitting to far as <answer>word</answer>.",
    "Say in one word how well it fits, fitting, slightly, somewhat, clearly or far, as <answer>word</answer>.",
    "How far is it from what is called for? Answer with one word as <answer>word</answer>.",
)
#: The share of the questions under the rubric that ask for one comparison, for all of them together, for a score.
_UNDER_RUBRIC = {"one": 0.2, "together": 0.4, "score": 0.4}
#: The kind of a question that asks for a score.
SCORE = "score"


def under_rubric(
    item: Item, rubric: Rubric, dimensions: Sequence[str], rng: np.random.Generator
) -> list[Question]:
    """Questions that begin with the rubric's own text for a dimension.

    Some ask for one of the comparisons of the dimension, as the plain questions do. Some ask, in one word, for
    the mean distance over all of them. The others equal the product's questions and ask for a score; their
    target is uniform over the scores, because the judge is not trained on ratings. The auxiliary heads are
    trained on all of them, see `recipes.tiny_judge.auxiliary_heads`.
    """
    answers = facts(item)
    drawn = []
    for key in dimensions:
        sort = rng.choice(list(_UNDER_RUBRIC), p=list(_UNDER_RUBRIC.values()))
        dimension = rubric[key]
        if sort == "score":
            question = _score(rubric.criterion(dimension), dimension.scale)
        elif sort == "one":
            name = pick(rng, UNDER_DIMENSION[key])
            ending = f"{pick(rng, PHRASINGS[f'compare:{name}'])} {pick(rng, _ENDINGS)}"
            question = Question(
                kind=f"rubric:{key}:{name}",
                text=_beneath(rubric, dimension, ending),
                answer=answers[f"compare:{name}"],
            )
        else:
            ending = pick(rng, _ONE_WORD_ENDINGS)
            question = _together(item, key, _beneath(rubric, dimension, ending))
        drawn.append(replace(question, distance=distance(item, key)))
    return drawn


def _beneath(rubric: Rubric, dimension: Dimension, ending: str) -> str:
    """The rubric's text for a dimension with another ending."""
    lines = [
        rubric.score_line.format(score=k, meaning=dimension.scores[k]) for k in dimension.scale
    ]
    return "\n".join([f"{dimension.title}: {dimension.description}", *lines, ending])


def for_scores(rubric: Rubric) -> list[Question]:
    """The product's questions about a record: a score on every dimension."""
    return [_score(rubric.criterion(dimension), dimension.scale) for dimension in rubric.dimensions]


def _score(criterion: str, scale: Sequence[int]) -> Question:
    """A question in the product's wording; its target is uniform over the scores."""
    scores = tuple(str(score) for score in scale)
    even = (1 / len(scores),) * len(scores)
    return Question(kind=SCORE, text=criterion, answer=scores[0], spread=even, options=scores)


def _together(item: Item, dimension: str, text: str) -> Question:
    """A question for the mean distance under a dimension, in one word."""
    position = distance(item, dimension) * (len(DISTANCES) - 1)
    spread = tuple(max(0.0, 1.0 - abs(position - index)) for index in range(len(DISTANCES)))
    nearest = DISTANCES[int(np.argmax(spread))]
    return Question(kind=f"rubric:{dimension}", text=text, answer=nearest, spread=spread)
