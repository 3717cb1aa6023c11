"""Reads distributions over the choices of an answer's fields from an endpoint's reply.

With logprobs, the distribution of a field comes from the probabilities of the tokens at the position where the choice
begins in the model's answer, renormalised over the choices. Without logprobs, it is the share of each choice among
sampled answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dramaeval.data.problems import one_line
from dramaeval.evaluation.endpoint.reply import Completion, Token
from dramaeval.tasks.question import LEAD, TAIL, AnswerField

#: Characters that may surround a choice.
_AROUND = " \t\r\n*`\"'"
#: Maximum share of the probability of all choices that may be on tokens which begin several choices.
_AMBIGUOUS = 0.01


class UnreadableAnswerError(ValueError):
    """An answer has no readable choice; the message is the reason."""


@dataclass(frozen=True)
class Chosen:
    """The index of the choice in one field of an answer, and the character of the text at which it begins."""

    choice: int
    start: int


def chosen(completion: Completion, fields: Sequence[AnswerField]) -> list[Chosen]:
    """Find the choice of each field in an answer.

    Args:
        completion: the answer, with or without a thought before it.
        fields: the fields of the answer.

    Raises:
        UnreadableAnswerError: the model refused, or a field has no choice.
    """
    if completion.reason:
        raise UnreadableAnswerError(completion.reason)
    spans = _spans(completion, fields)
    return [
        _choice(completion.text, span, field) for span, field in zip(spans, fields, strict=True)
    ]


def _spans(completion: Completion, fields: Sequence[AnswerField]) -> list[tuple[int, int]]:
    """The begin and the end of each field's value, as characters of the text."""
    text = completion.text
    lead = text.rfind(LEAD)
    begin = 0 if lead < 0 else lead + len(LEAD)
    tail = text.find(TAIL, begin)
    end = len(text) if tail < 0 else tail
    if lead < 0 and not completion.finished:
        raise UnreadableAnswerError("the answer did not end within model.max_tokens")
    markers = [field.lead.rpartition(LEAD)[2].strip() for field in fields]
    if markers == [""]:
        return [(begin, end)]
    places = [text.find(marker, begin, end) for marker in markers]
    if -1 in places:
        missing = markers[places.index(-1)]
        raise UnreadableAnswerError(
            f"the answer has no {missing}: {one_line(text[begin:end], 60)!r}"
        )
    ends = [min([other for other in places if other > place], default=end) for place in places]
    return [
        (place + len(marker), stop)
        for place, marker, stop in zip(places, markers, ends, strict=True)
    ]


def _choice(text: str, span: tuple[int, int], field: AnswerField) -> Chosen:
    raw = text[slice(*span)]
    start = span[0] + len(raw) - len(raw.lstrip(_AROUND))
    value = raw.strip(_AROUND).rstrip(".").rstrip(_AROUND)
    if value in field.choices:
        return Chosen(field.choices.index(value), start)
    folded = [choice.casefold() for choice in field.choices]
    if folded.count(value.casefold()) == 1:
        return Chosen(folded.index(value.casefold()), start)
    if not field.options and value.isascii() and (number := _number(value)) in field.scale:
        return Chosen(field.scale.index(number), start)
    raise UnreadableAnswerError(f"the answer is not on the scale: {one_line(raw, 60)!r}")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def from_logprobs(completion: Completion, fields: Sequence[AnswerField]) -> list[np.ndarray] | None:
    """Compute each field's distribution, ``[choices]``, from the logprobs of an answer.

    Returns:
        None if the tokens do not give the distributions: there are no tokens, they do not spell the text, or a likely
        token begins several choices.

    Raises:
        UnreadableAnswerError: see `chosen`.
    """
    places = chosen(completion, fields)
    if "".join(token.text for token in completion.tokens) != completion.text:
        return None
    rows = [_row(completion, place, field) for place, field in zip(places, fields, strict=True)]
    return None if any(row is None for row in rows) else [row for row in rows if row is not None]


def _row(completion: Completion, place: Chosen, field: AnswerField) -> np.ndarray | None:
    index, offset = 0, 0
    while offset + len(completion.tokens[index].text) <= place.start:
        offset += len(completion.tokens[index].text)
        index += 1
    choices = dict(enumerate(field.choices))
    mass, lost = _split(completion.tokens[index:], place.start - offset, choices)
    total = sum(mass.values())
    if total <= 0 or lost > _AMBIGUOUS * (total + lost):
        return None
    return np.array([mass.get(number, 0.0) for number in choices]) / total


def _split(
    tokens: Sequence[Token], skipped: int, choices: Mapping[int, str]
) -> tuple[dict[int, float], float]:
    """Sum the probability of each choice, and the probability of tokens which begin several choices.

    Args:
        tokens: the tokens of the answer, from the first one that has a part of the choice.
        skipped: number of characters of the first token before the choice.
        choices: the remaining text of each choice, by index.
    """
    first = tokens[0]
    before, written = first.text[:skipped], first.text[skipped:]
    mass: dict[int, float] = dict.fromkeys(choices, 0.0)
    lost = 0.0
    for text, logprob in first.alternatives.items():
        rest = _after(text, before)
        fitting = [number for number, choice in choices.items() if rest and _fits(rest, choice)]
        probability = math.exp(logprob)
        if len(fitting) == 1:
            mass[fitting[0]] += probability
        elif len(fitting) > 1 and rest == written and len(tokens) > 1:
            remaining = {number: choices[number][len(written) :] for number in fitting}
            inner, inner_lost = _split_rest(tokens[1:], remaining)
            lost += probability * inner_lost
            for number, share in inner.items():
                mass[number] += probability * share
        elif len(fitting) > 1:
            lost += probability
    return mass, lost


def _split_rest(
    tokens: Sequence[Token], remaining: Mapping[int, str]
) -> tuple[dict[int, float], float]:
    """Like `_split`, if a choice may be complete: a token that continues no other choice then ends this choice."""
    ended = [number for number, rest in remaining.items() if not rest]
    going_on = {number: rest for number, rest in remaining.items() if rest}
    mass, lost = _split(tokens, 0, going_on)
    if ended:
        mass[ended[0]] = max(0.0, 1.0 - sum(mass.values()) - lost)
    return mass, lost


def _after(text: str, before: str) -> str:
    """The text of a token after the prefix before the choice; empty if the token begins otherwise."""
    if text.startswith(before):
        return text[len(before) :]
    return text.lstrip() if not before.strip() else ""


def _fits(text: str, choice: str) -> bool:
    """Whether a token is the beginning of a choice, or a whole choice with further characters."""
    if choice.startswith(text):
        return True
    follows = text[len(choice) : len(choice) + 1]
    return text.startswith(choice) and not (follows.isalnum() or follows == ".")


def from_samples(
    completions: Sequence[Completion], fields: Sequence[AnswerField]
) -> tuple[list[np.ndarray], int]:
    """Compute the share of each choice among sampled answers, ``[choices]`` for each field; count unreadable answers.

    Raises:
        UnreadableAnswerError: no answer can be read; the message is the reason for the first answer.
    """
    counts = [np.zeros(len(field.choices)) for field in fields]
    reasons: list[str] = []
    for completion in completions:
        try:
            places = chosen(completion, fields)
        except UnreadableAnswerError as error:
            reasons.append(str(error))
            continue
        for row, place in zip(counts, places, strict=True):
            row[place.choice] += 1
    if len(reasons) == len(completions):
        raise UnreadableAnswerError(reasons[0] if reasons else "there is no answer")
    return [row / row.sum() for row in counts], len(reasons)
