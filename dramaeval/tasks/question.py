"""A question: the chat prompt for the judge and the form of its answer.

An answer consists of fields, each with one of several choices: one score in most tasks, one score per dimension if one
question asks for all dimensions, the text of an option in multiple choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.tasks.rubric import Dimension

LEAD = "<answer>"
TAIL = "</answer>"
THINK = "<think>"
THOUGHT = "</think>\n"


@dataclass(frozen=True, kw_only=True)
class AnswerField:
    """One field of an answer: ``lead``, one of ``choices``, ``tail``.

    Attributes:
        dimension: the dimension that the choice rates.
        choices: the possible texts.
        scale: the number of each choice, in rising order; for options, the index.
        lead: the text before the choice, from the previous field or the beginning of the answer.
        tail: the text after the last field; empty for other fields.
        options: whether the choices are unordered texts, not scores.
    """

    dimension: Dimension
    choices: tuple[str, ...]
    scale: tuple[float, ...]
    lead: str = LEAD
    tail: str = TAIL
    options: bool = False

    @classmethod
    def of_score(cls, dimension: Dimension, lead: str = LEAD, tail: str = TAIL) -> AnswerField:
        """A field for one score of a dimension."""
        choices, scale = dimension.answers, dimension.scale
        return cls(dimension=dimension, choices=choices, scale=scale, lead=lead, tail=tail)

    @classmethod
    def of_options(
        cls, dimension: Dimension, options: tuple[str, ...], lead: str = LEAD, tail: str = TAIL
    ) -> AnswerField:
        """A field for the text of one of several options."""
        scale = tuple(range(len(options)))
        return cls(
            dimension=dimension, choices=options, scale=scale, lead=lead, tail=tail, options=True
        )


@dataclass(frozen=True, kw_only=True)
class PairPlace:
    """The clips in a question about a pair, and the model that converts answers to probabilities.

    Attributes:
        order: the clips in the order of the prompt: ``a`` or ``b`` if each clip is scored singly, ``ab`` or ``ba`` if
            both clips are in one prompt.
        slope: log-odds of the better clip for a difference of one score.
        tie_weight: Davidson's ν, see `dramaeval.models.forward.pair_outcomes`.
    """

    order: str
    slope: float = 1.0
    tie_weight: float = 1.0

    @property
    def is_direct(self) -> bool:
        """Whether both clips are in one prompt."""
        return len(self.order) == 2


@dataclass(frozen=True, kw_only=True)
class ThoughtSampling:
    """How several thoughts about a question are sampled; their scores are averaged.

    Attributes:
        samples: number of thoughts, 2 or more.
        temperature: temperature of the softmax over tokens.
        seed: seed of the random numbers, together with the record, the question and the number of the thought.
    """

    samples: int
    temperature: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Question:
    """One chat prompt and the fields of its answer.

    Attributes:
        messages: chat messages, up to the beginning of the answer.
        answer_fields: the fields of the answer, in order.
        key: distinguishes the question from other questions about the record.
        generates_thought: whether the judge generates a thought before the answer in scoring.
        thought_sampling: how several thoughts are sampled; None generates one greedy thought.
        wording: index of the wording, if the task has several.
        clips: paths of the clips in the prompt, in order, without clips of examples; None for only the record's clip.
        pair: the clips in a question about a pair; None for other questions.
    """

    messages: list[dict[str, Any]]
    answer_fields: tuple[AnswerField, ...]
    key: tuple[str, ...]
    generates_thought: bool = False
    thought_sampling: ThoughtSampling | None = None
    wording: int = 0
    clips: tuple[Path, ...] | None = None
    pair: PairPlace | None = None

    def with_thought(self, thought: str) -> Question:
        """The same question with a thought written before the answer."""
        first = self.answer_fields[0]
        lead = f"{THINK}{thought}{THOUGHT}{first.lead}"
        return replace(
            self,
            answer_fields=(replace(first, lead=lead), *self.answer_fields[1:]),
            key=(*self.key, thought),
            generates_thought=False,
            thought_sampling=None,
        )

    def solution(self, written: tuple[int, ...]) -> str:
        """The answer as text; ``written`` has the index of the choice of each field."""
        return "".join(
            f"{field.lead}{field.choices[choice]}{field.tail}"
            for field, choice in zip(self.answer_fields, written, strict=True)
        )


@dataclass(frozen=True)
class Target:
    """The target of one answer field.

    Attributes:
        distribution: probabilities of the choices, ``[choices]``.
        written: index of the choice in the training answer; None writes the likeliest choice.
    """

    distribution: np.ndarray
    written: int | None = None
