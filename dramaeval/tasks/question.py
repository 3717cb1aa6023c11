"""A question as text: what the judge reads, and the form of what it answers.

An answer is made of *places*, at each of which one of a few choices is written: one score in most tasks, ten
of them where all dimensions are asked at once, the text of an option in multiple choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dramaeval.tasks.rubric import Dimension

LEAD = "<answer>"
TAIL = "</answer>"
THINK = "<think>"
THOUGHT = "</think>\n"


@dataclass(frozen=True, kw_only=True)
class AnswerField:
    """Where an answer makes a choice: ``lead``, one of ``choices``, ``tail``.

    Attributes:
        dimension: what the choice is about.
        choices: what can be written, scores as their digits.
        scale: the number that each stands for, rising; for options just their order.
        lead: the text before it, from the previous place or from the beginning of the answer on.
        tail: the text after the last place; empty where the answer goes on.
        options: whether the choices are texts without an order, rather than scores.
    """

    dimension: Dimension
    choices: tuple[str, ...]
    scale: tuple[int, ...]
    lead: str = LEAD
    tail: str = TAIL
    options: bool = False

    @classmethod
    def of_score(cls, dimension: Dimension, lead: str = LEAD, tail: str = TAIL) -> AnswerField:
        """A place for one score of a dimension."""
        choices = tuple(str(score) for score in dimension.scale)
        return cls(
            dimension=dimension, choices=choices, scale=dimension.scale, lead=lead, tail=tail
        )


@dataclass(frozen=True, kw_only=True)
class Question:
    """One chat prompt and the places of its answer.

    Attributes:
        messages: up to where the answer begins.
        places: in the order of the answer.
        key: tells it from the record's other questions.
        thinks: whether the judge is to write a thought of its own before it is scored.
        wording: which of several phrasings this is.
    """

    messages: list[dict[str, Any]]
    places: tuple[AnswerField, ...]
    key: tuple[str, ...]
    thinks: bool = False
    wording: int = 0

    def after(self, thought: str) -> Question:
        """The same question with a thought written before the answer."""
        first = self.places[0]
        lead = f"{THINK}{thought}{THOUGHT}{first.lead}"
        return replace(
            self,
            places=(replace(first, lead=lead), *self.places[1:]),
            key=(*self.key, thought),
            thinks=False,
        )

    def solution(self, written: tuple[int, ...]) -> str:
        """The answer as text; ``written`` is the choice at each place."""
        parts = [
            f"{place.lead}{place.choices[choice]}{place.tail}"
            for place, choice in zip(self.places, written, strict=True)
        ]
        return "".join(parts)
