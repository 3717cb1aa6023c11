"""A written answer as rewards see it: its text, what was read of it, and what people said.

A reward is a callable on a batch of completions that returns one finite number for each. Most look at one
completion at a time; what the batch is for is rewards like `dramaeval.training.rewards.correlation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dramaeval.data.records import Record
from dramaeval.tasks.question import LEAD, THINK, THOUGHT, AnswerField, Question
from dramaeval.tasks.task import Target, Task


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was answered at one place, and what people said there.

    Attributes:
        dimension: key of what is asked.
        scale: the scores to choose from, rising; for options just their order.
        options: whether the choices are texts without an order.
        choice: number of the choice that was written; None where none could be read.
        ratings: the raters' values, missing ones left out; of options the number of the right one.
        wanted: number of the choice that the label policy would have written.
    """

    dimension: str
    scale: tuple[int, ...]
    options: bool
    choice: int | None
    ratings: tuple[float, ...]
    wanted: int

    @property
    def score(self) -> float | None:
        """The score that was written; None where none could be read, or where there are options."""
        return None if self.choice is None or self.options else float(self.scale[self.choice])

    @property
    def mean_rating(self) -> float:
        """The raters' mean."""
        return sum(self.ratings) / len(self.ratings)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One completion.

    Attributes:
        id: of the record.
        group: number of the question in the batch; its completions are compared with each other.
        text: what was written, without the token that ended it.
        tokens: how many were written, the end of the turn included.
        finished: whether it was ended by the judge, and not by the limit.
        well_formed: whether the text is an answer in the asked form and nothing else.
        given: what was answered, a place each.
    """

    id: str
    group: int
    text: str
    tokens: int
    finished: bool
    well_formed: bool
    given: tuple[Given, ...]


Reward = Callable[[Sequence[Completion]], Sequence[float]]


def over_places(completion: Completion, value: Callable[[Given], float]) -> float:
    """The mean of a value over the places of an answer."""
    return sum(map(value, completion.given)) / len(completion.given)


@dataclass(frozen=True)
class Form:
    """The form in which a question is answered.

    Attributes:
        places: of the answer, the first without a thought before it.
        thinks: whether a thought comes before the answer.
    """

    places: tuple[AnswerField, ...]
    thinks: bool

    @classmethod
    def of(cls, question: Question) -> Form:
        """The form of a question's answers. A thought that is given is the judge's own to write here."""
        first, *rest = question.places
        thinks = question.thinks or first.lead.startswith(THINK)
        if first.lead.startswith(THINK):
            first = replace(first, lead=first.lead.rpartition(THOUGHT)[2])
        return cls((first, *rest), thinks)

    def read(self, text: str) -> tuple[tuple[int | None, ...], bool]:
        """The choices in a text, one a place, and whether the text is the answer and nothing else.

        A text that holds no answer, or several, has None at each place.
        """
        anywhere, whole = _patterns(
            tuple((one.lead, one.choices, one.tail) for one in self.places), self.thinks
        )
        found = anywhere.findall(text)
        if len(found) != 1 or text.count(LEAD) != 1:
            return (None,) * len(self.places), False
        words = found[0] if isinstance(found[0], tuple) else (found[0],)
        choices = tuple(
            place.choices.index(word) for place, word in zip(self.places, words, strict=True)
        )
        return choices, whole.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _patterns(
    places: tuple[tuple[str, tuple[str, ...], str], ...], thinks: bool
) -> tuple[re.Pattern[str], re.Pattern[str]]:
    parts = []
    for lead, choices, tail in places:
        texts = "|".join(map(re.escape, sorted(choices, key=len, reverse=True)))
        parts.append(rf"{re.escape(lead)}({texts}){re.escape(tail)}")
    answer = "".join(parts)
    thought = rf"{re.escape(THINK)}.*?{re.escape(THOUGHT)}" if thinks else ""
    return re.compile(answer), re.compile(thought + answer, re.DOTALL)


def completion_of(
    task: Task,
    record: Record,
    question: Question,
    targets: Mapping[str, Target],
    *,
    group: int,
    text: str,
    tokens: int,
    finished: bool,
) -> Completion:
    """Read a completion.

    Args:
        task: knows what the raters said.
        record: that was asked about.
        question: that was asked.
        targets: what the label policy makes of the ratings, by dimension.
        group: number of the question in the batch.
        text: what was written.
        tokens: how many.
        finished: whether the judge ended it.
    """
    form = Form.of(question)
    choices, well_formed = form.read(text)
    return Completion(
        id=record.id,
        group=group,
        text=text,
        tokens=tokens,
        finished=finished,
        well_formed=well_formed and finished,
        given=tuple(
            _given(task, record, place, choice, targets[place.dimension.key])
            for place, choice in zip(form.places, choices, strict=True)
        ),
    )


def _given(
    task: Task, record: Record, place: AnswerField, choice: int | None, target: Target
) -> Given:
    ratings = task.ratings(record, place.dimension)
    likeliest = int(target.distribution.argmax())
    return Given(
        dimension=place.dimension.key,
        scale=place.scale,
        options=place.options,
        choice=choice,
        ratings=tuple(float(one) for one in ratings if one is not None),
        wanted=likeliest if target.written is None else target.written,
    )
