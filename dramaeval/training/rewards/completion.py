"""The input of rewards: completions with their texts, the answers in the texts, and the raters' values.

A reward is a callable that takes a sequence of completions and returns one finite number for each. Most rewards
depend on a single completion; `dramaeval.training.rewards.correlation` compares the completions of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dramaeval.data.mean_ratings import mean_distribution
from dramaeval.data.records import Record
from dramaeval.tasks.question import LEAD, THINK, THOUGHT, AnswerField, Question, Target
from dramaeval.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class FieldAnswer:
    """The answer to one field of a question, and the raters' values for the field.

    Attributes:
        dimension: key of the dimension.
        scale: the possible scores in rising order; for options, their numbers.
        options: whether the choices are texts without an order.
        choice: index of the written choice; None if the text has no readable choice.
        ratings: the raters' values without missing ones; for options, the number of the right option; for a clip of a
            pair, the votes for this clip, from −1 (the other clip is better) to 1.
        wanted: index of the choice in the answer that the label policy writes; None for a clip of a pair.
        shares: the probability of each choice if only the mean rating is known, see `dramaeval.data.mean_ratings`;
            None otherwise.
    """

    dimension: str
    scale: tuple[float, ...]
    options: bool
    choice: int | None
    ratings: tuple[float, ...]
    wanted: int | None
    shares: tuple[float, ...] | None = None

    @property
    def score(self) -> float | None:
        """The written score; None if the text has no readable score, or the choices are options."""
        return None if self.choice is None or self.options else float(self.scale[self.choice])

    @property
    def mean_rating(self) -> float:
        """The mean of the ratings."""
        return sum(self.ratings) / len(self.ratings)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One completion.

    Attributes:
        id: id of the record.
        group: number of the question in the batch; completions of a group are compared with each other.
        text: the text without the end token.
        tokens: number of generated tokens, with the end token.
        finished: whether the judge ended the completion before the limit.
        well_formed: whether the text is an answer in the requested form and nothing else.
        answers: the answer to each field.
        clip_of_pair: ``a`` or ``b`` for a clip of a pair that is scored singly; None otherwise.
        thought: the text of the thought before the answer; an unfinished thought is the rest of the completion. None if
            no thought is requested or written.
        thought_ended: whether the thought ends.
        thought_tokens: number of tokens of the thought.
    """

    id: str
    group: int
    text: str
    tokens: int
    finished: bool
    well_formed: bool
    answers: tuple[FieldAnswer, ...]
    clip_of_pair: str | None = None
    thought: str | None = None
    thought_ended: bool = True
    thought_tokens: int = 0

    @property
    def given(self) -> tuple[FieldAnswer, ...]:
        """``answers``, under the name in version 0.1."""
        return self.answers

    def mean(self, value: Callable[[FieldAnswer], float]) -> float:
        """The mean of a value over the fields of the answer."""
        return sum(map(value, self.answers)) / len(self.answers)


Reward = Callable[[Sequence[Completion]], Sequence[float]]


@dataclass(frozen=True)
class AnswerForm:
    """The form of a question's answers.

    Attributes:
        fields: the fields of the answer; the first has no thought before it.
        thinks: whether a thought comes before the answer.
    """

    fields: tuple[AnswerField, ...]
    thinks: bool

    @classmethod
    def of(cls, question: Question) -> AnswerForm:
        """The form of the answers to a question; the judge writes the thought, even if the record has one."""
        first, *rest = question.answer_fields
        thinks = question.generates_thought or first.lead.startswith(THINK)
        if first.lead.startswith(THINK):
            first = replace(first, lead=first.lead.rpartition(THOUGHT)[2])
        return cls((first, *rest), thinks)

    def thought_in(self, text: str) -> tuple[str | None, bool]:
        """The thought in a text and whether it ends; None if no thought is requested or written."""
        _, begun, rest = text.partition(THINK)
        if not self.thinks or not begun:
            return None, True
        thought, ended, _ = rest.partition(THOUGHT.strip())
        return thought, bool(ended)

    def read(self, text: str) -> tuple[tuple[int | None, ...], bool]:
        """The choice in a text for each field, and whether the text is the answer and nothing else.

        The choices are None if the text has no answer or several answers.
        """
        answer, text_of_answer = _patterns(
            tuple((field.lead, field.choices, field.tail) for field in self.fields),
            self.thinks,
        )
        matches = list(answer.finditer(text))
        if len(matches) != 1 or text.count(LEAD) != 1:
            return (None,) * len(self.fields), False
        choices = tuple(
            field.choices.index(word)
            for field, word in zip(self.fields, matches[0].groups(), strict=True)
        )
        return choices, text_of_answer.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _patterns(
    fields: tuple[tuple[str, tuple[str, ...], str], ...], thinks: bool
) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The patterns of an answer, and of a text that is an answer in the requested form."""
    parts = []
    for lead, choices, tail in fields:
        texts = "|".join(map(re.escape, sorted(choices, key=len, reverse=True)))
        parts.append(rf"{re.escape(lead)}({texts}){re.escape(tail)}")
    answer = "".join(parts)
    thought = rf"{re.escape(THINK)}.*?{re.escape(THOUGHT)}" if thinks else ""
    return re.compile(answer), re.compile(thought + answer, re.DOTALL)


def read_completion(
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
    """Read the answer in a completion.

    Args:
        task: gives the ratings of the record.
        record: the record that the question is about.
        question: the question.
        targets: the targets by the label policy, by dimension key.
        group, text, tokens, finished: see `Completion`.
    """
    form = AnswerForm.of(question)
    choices, well_formed = form.read(text)
    thought, thought_ended = form.thought_in(text)
    pair = question.pair
    return Completion(
        id=record.id,
        group=group,
        text=text,
        tokens=tokens,
        finished=finished,
        well_formed=well_formed and finished,
        answers=tuple(
            _field_answer(task, record, question, field, choice, targets[field.dimension.key])
            for field, choice in zip(form.fields, choices, strict=True)
        ),
        clip_of_pair=pair.order if pair and not pair.is_direct else None,
        thought=thought,
        thought_ended=thought_ended,
    )


def _field_answer(
    task: Task,
    record: Record,
    question: Question,
    field: AnswerField,
    choice: int | None,
    target: Target,
) -> FieldAnswer:
    ratings = task.ratings(record, field.dimension)
    distribution = target.distribution
    pair = question.pair
    if pair:
        # Votes from -2 to 2 are for clip a; the answer from -1 to 1 is for the first clip of the prompt.
        sign = 0.5 if pair.order[0] == "a" else -0.5
        ratings = tuple(None if vote is None else sign * vote for vote in ratings)
        distribution = distribution if sign > 0 else distribution[::-1]
    shares, wanted = None, None
    if pair is None or pair.is_direct:  # the score of a single clip of a pair has no target
        info = task.rater_info(record, field.dimension)
        if info.mean_only and ratings[0] is not None:
            # The votes of a pair are halved above, and so is their spread.
            std = info.std if pair is None or info.std is None else info.std / 2
            shares = mean_distribution(tuple(map(float, field.scale)), ratings[0], std)
        wanted = int(distribution.argmax()) if target.written is None else target.written
    return FieldAnswer(
        dimension=field.dimension.key,
        scale=field.scale,
        options=field.options,
        choice=choice,
        ratings=tuple(float(rating) for rating in ratings if rating is not None),
        wanted=wanted,
        shares=shares,
    )
