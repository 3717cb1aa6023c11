"""Questions as tokens: the only module that tokenises chat prompts and answers.

The tokenised answer decides which tokens are trained; lengths of other texts are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from dramaeval.tasks.question import AnswerField, Question

#: Precedes an answer when it is tokenised, so that its tokens are those of running text.
_BEFORE = "assistant\n"
_FIELDS_KEPT = 8192

Messages = list[dict[str, Any]]


class TokenizationError(ValueError):
    """The tokenizer merges a score with other text, or the chat template leaves out a clip."""


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of one field of an answer: ``lead``, then one of the choices, then ``tail``.

    Attributes:
        scale: the number that each choice stands for.
        lead: token ids before the choice.
        scores: the token id of each choice, where every choice is one token.
        tail: token ids after the last field of the answer, with the end of the turn; empty for other fields.
        options: the token ids of each choice, where choices have several. Each holds everything up to the end of the
            answer, so that the likelihoods are those of complete answers and no option gains by being the beginning
            of another.
    """

    scale: tuple[int, ...]
    lead: tuple[int, ...]
    scores: tuple[int, ...]
    tail: tuple[int, ...]
    options: tuple[tuple[int, ...], ...] = ()

    @property
    def choice_tokens(self) -> tuple[tuple[int, ...], ...]:
        """The token ids of each choice."""
        return self.options or tuple((token,) for token in self.scores)


@dataclass(frozen=True)
class EncodedQuestion:
    """The token ids of a prompt, up to where the answer begins, and of one field of the answer."""

    prompt: tuple[int, ...]
    answer: AnswerTokens

    def with_audio(self, token: int, lengths: Sequence[int]) -> EncodedQuestion:
        """A copy in which every audio placeholder is repeated to the length of its clip.

        Args:
            token: id of the placeholder.
            lengths: prompt positions of each clip, in the order of the placeholders.

        Raises:
            TokenizationError: there are more or fewer placeholders than clips.
        """
        if self.prompt.count(token) != len(lengths):
            raise TokenizationError(
                f"The chat template renders {self.prompt.count(token)} audio placeholders for {len(lengths)} clips. "
                "The processor's chat template must put each clip of a message into the prompt."
            )
        remaining = iter(lengths)
        prompt: list[int] = []
        for item in self.prompt:
            prompt += [token] * next(remaining) if item == token else [item]
        return replace(self, prompt=tuple(prompt))


class QuestionEncoder:
    """Renders chat messages and tokenises prompts and answers.

    Args:
        tokenizer: the model's tokenizer.
        end_of_turn: the text with which the chat format ends an answer.
        render: chat messages to text, or directly to token ids.
        tokenise: text to token ids, without added special tokens.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        end_of_turn: str,
        render: Callable[[Messages], str | list[int]],
        tokenise: Callable[[str], list[int]],
    ) -> None:
        self.tokenizer = tokenizer
        self.end_of_turn = end_of_turn
        self.render = render
        self.tokenise = tokenise
        self._answers = lru_cache(maxsize=_FIELDS_KEPT)(self._encode_answer)

    def encode_question(self, question: Question) -> list[EncodedQuestion]:
        """A question's prompt with each field of its answer, in order; one placeholder per clip.

        Raises:
            TokenizationError: the tokenizer merges a score with other text.
        """
        prompt = self.prompt(question.messages)
        return [
            EncodedQuestion(prompt=prompt, answer=answer) for answer in self.encode_answer(question)
        ]

    def encode_answer(self, question: Question) -> tuple[AnswerTokens, ...]:
        """Each field of a question's answer, in order."""
        return self._answers(tuple(map(_FieldText.of, question.answer_fields)))

    def prompt(self, messages: Messages) -> tuple[int, ...]:
        """The token ids of chat messages up to where the answer begins."""
        rendered = self.render(messages)
        return tuple(self.tokenise(rendered) if isinstance(rendered, str) else rendered)

    def opening(self, text: str) -> tuple[int, ...]:
        """The token ids of a text with which an answer begins."""
        return self._in_answer(text)[len(self._before) :]

    @property
    def _before(self) -> tuple[int, ...]:
        return tuple(self.tokenise(_BEFORE))

    def _in_answer(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenise(_BEFORE + text))

    def _encode_answer(self, fields: tuple[_FieldText, ...]) -> tuple[AnswerTokens, ...]:
        """The fields of one answer; replies may differ in the tokens of the choices and in no other."""
        if fields[0].options:
            return (self._encode_options(fields[0]),)
        first = self._reply(fields, {})
        begin = len(self._before)
        answers = []
        for number, field in enumerate(fields):
            replies = [self._reply(fields, {number: text}) for text in field.choices]
            position, scores = self._score_tokens(field, replies)
            lead = first[begin:position]
            tail = first[position + 1 :] if number == len(fields) - 1 else ()
            answers.append(AnswerTokens(scale=field.scale, lead=lead, scores=scores, tail=tail))
            begin = position + 1
        return tuple(answers)

    def _reply(self, fields: Sequence[_FieldText], chosen: dict[int, str]) -> tuple[int, ...]:
        """The answer with the chosen texts in their fields and the first choices in the others."""
        text = "".join(
            f"{field.lead}{chosen.get(number, field.choices[0])}{field.tail}"
            for number, field in enumerate(fields)
        )
        return self._in_answer(f"{text}{self.end_of_turn}")

    def _score_tokens(
        self, field: _FieldText, replies: Sequence[tuple[int, ...]]
    ) -> tuple[int, tuple[int, ...]]:
        """The position at which the replies differ, and the token of each reply at it.

        Raises:
            TokenizationError: they differ in length, in more or less than one token, or before the answer.
        """
        first, before = replies[0], self._before
        positions = set()
        for score, reply in zip(field.choices, replies, strict=True):
            pairs = enumerate(zip(reply, first, strict=False))
            differing = [position for position, (token, other) in pairs if token != other]
            expected = 0 if score == field.choices[0] else 1
            if (
                len(reply) != len(first)
                or len(differing) != expected
                or reply[: len(before)] != before
            ):
                raise TokenizationError(
                    f"This tokenizer does not keep the score {score} as a separate token between "
                    f"{field.lead} and {field.tail or 'the next score'} "
                    f"({self.tokenizer.convert_ids_to_tokens(list(reply))}). "
                    "Scores are read from one position, so each needs a single token: choose a scale of "
                    "single digits in the rubric."
                )
            positions |= set(differing)
        position = min(positions)
        return position, tuple(reply[position] for reply in replies)

    def _encode_options(self, field: _FieldText) -> AnswerTokens:
        """Options as complete answers; the lead is their common beginning."""
        before = len(self._before)
        replies = [self._reply([field], {0: text})[before:] for text in field.choices]
        common = common_length([*replies, self.opening(field.lead)])
        return AnswerTokens(
            scale=field.scale,
            lead=replies[0][:common],
            scores=(),
            tail=(),
            options=tuple(reply[common:] for reply in replies),
        )


@dataclass(frozen=True)
class _FieldText:
    """The part of an `AnswerField` that decides its tokens."""

    lead: str
    choices: tuple[str, ...]
    scale: tuple[int, ...]
    tail: str
    options: bool

    @classmethod
    def of(cls, field: AnswerField) -> _FieldText:
        return cls(field.lead, field.choices, field.scale, field.tail, field.options)


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all sequences share."""
    columns = enumerate(zip(*sequences, strict=False))
    lengths = (length for length, tokens in columns if len(set(tokens)) > 1)
    return next(lengths, min(map(len, sequences)))
