"""Tokenises chat prompts and answers. No other module does this.

The tokens of the whole answer show which of them belong to a choice; lengths of other texts are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from dramaeval.tasks.question import Question

#: The text before an answer for tokenisation, so that the answer has the tokens of running text.
_BEFORE = "assistant\n"
_FIELDS_KEPT = 8192

Messages = list[dict[str, Any]]


class TokenizationError(ValueError):
    """The tokenizer merges a score with other text, or the chat template omits a clip."""


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of one field of an answer: ``lead``, then one of the choices, then ``tail``.

    Attributes:
        scale: the number of each choice.
        lead: token ids before the choice.
        scores: the token id of each choice, if every choice is one token.
        tail: token ids after the last field of the answer, with the end of the turn; empty for other fields.
        options: the token ids of each option of a multiple-choice question, up to the end of the answer. The likelihoods
            are therefore those of complete answers, so that an option is not favoured because it is the beginning of
            another option.
        paths: the token ids of each score, if scores have several tokens, followed by ``ending`` tokens of the text
            after the score. No path is the beginning of another: "1" is 1 and the end, "10" is 1, 0 and the end.
        ending: number of these further tokens; they are also the first tokens of the following text.
    """

    scale: tuple[float, ...]
    lead: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    tail: tuple[int, ...] = ()
    options: tuple[tuple[int, ...], ...] = ()
    paths: tuple[tuple[int, ...], ...] = ()
    ending: int = 0

    @property
    def choice_tokens(self) -> tuple[tuple[int, ...], ...]:
        """The token ids of each choice."""
        if self.paths:
            return tuple(path[: len(path) - self.ending] for path in self.paths)
        return self.options or tuple((token,) for token in self.scores)


@dataclass(frozen=True)
class EncodedQuestion:
    """The token ids of a prompt, up to the beginning of the answer, and of one field of the answer.

    Attributes:
        prompt: token ids.
        answer: the field.
        before_clips: number of tokens before the first clip; of all tokens of a prompt without a clip.
    """

    prompt: tuple[int, ...]
    answer: AnswerTokens
    before_clips: int = 0

    def with_audio(self, token: int, lengths: Sequence[int]) -> EncodedQuestion:
        """A copy in which every audio placeholder is repeated to the length of its clip.

        Args:
            token: id of the placeholder.
            lengths: number of prompt positions of each clip, in the order of the placeholders.

        Raises:
            TokenizationError: the numbers of placeholders and clips differ.
        """
        if self.prompt.count(token) != len(lengths):
            raise TokenizationError(
                f"The chat template renders {self.prompt.count(token)} audio placeholders for {len(lengths)} clips. "
                "The processor's chat template must put each clip of a message into the prompt."
            )
        before_clips = self.prompt.index(token) if lengths else len(self.prompt)
        remaining = iter(lengths)
        prompt: list[int] = []
        for item in self.prompt:
            prompt += [token] * next(remaining) if item == token else [item]
        return replace(self, prompt=tuple(prompt), before_clips=before_clips)


class QuestionEncoder:
    """Renders chat messages and tokenises prompts and answers.

    Args:
        tokenizer: the model's tokenizer.
        end_of_turn: the text that ends an answer in the chat format.
        render: converts chat messages to text or token ids.
        tokenise: converts text to token ids, without adding special tokens.
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
        """The prompt of a question with each field of its answer, in order; a clip is one placeholder.

        Raises:
            TokenizationError: the tokenizer merges a score with the text before the answer.
        """
        prompt = self.prompt(question.messages)
        return [
            EncodedQuestion(prompt=prompt, answer=answer, before_clips=len(prompt))
            for answer in self.encode_answer(question)
        ]

    def encode_answer(self, question: Question) -> tuple[AnswerTokens, ...]:
        """The tokens of each field of the answer to a question, in order."""
        fields = question.answer_fields
        return self._answers(
            tuple(_FieldText(f.lead, f.choices, f.scale, f.tail, f.options) for f in fields)
        )

    def prompt(self, messages: Messages) -> tuple[int, ...]:
        """The token ids of chat messages up to the beginning of the answer."""
        rendered = self.render(messages)
        return tuple(self.tokenise(rendered) if isinstance(rendered, str) else rendered)

    def opening(self, text: str) -> tuple[int, ...]:
        """The token ids of a text at the beginning of an answer."""
        return self._in_answer(text)[len(self._before) :]

    @property
    def _before(self) -> tuple[int, ...]:
        return tuple(self.tokenise(_BEFORE))

    def _in_answer(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenise(_BEFORE + text))

    def _encode_answer(self, fields: tuple[_FieldText, ...]) -> tuple[AnswerTokens, ...]:
        """The fields of one answer, from complete replies that differ in one choice."""
        if fields[0].options:
            return (self._encode_options(fields[0]),)
        first = self._reply(fields, {})
        begin = len(self._before)
        answers = []
        for number, field in enumerate(fields):
            replies = [self._reply(fields, {number: text}) for text in field.choices]
            self._require_same_beginning(field, replies)
            single = self._single_token(field, replies)
            position, answer = single or self._several_tokens(fields, number, replies)
            end = position + len(answer.choice_tokens[0])
            tail = first[end:] if number == len(fields) - 1 else ()
            answers.append(replace(answer, lead=first[begin:position], tail=tail))
            begin = end
        return tuple(answers)

    def _reply(self, fields: Sequence[_FieldText], chosen: dict[int, str]) -> tuple[int, ...]:
        """The tokens of an answer with the chosen texts, and with the first choice in other fields."""
        text = "".join(
            f"{field.lead}{chosen.get(number, field.choices[0])}{field.tail}"
            for number, field in enumerate(fields)
        )
        return self._in_answer(f"{text}{self.end_of_turn}")

    def _require_same_beginning(
        self, field: _FieldText, replies: Sequence[tuple[int, ...]]
    ) -> None:
        """Check that the tokenizer does not merge the beginning of an answer with the text before it.

        Raises:
            TokenizationError: it does; the message names the field.
        """
        before = self._before
        if len(set(replies)) < len(replies) or any(r[: len(before)] != before for r in replies):
            raise TokenizationError(
                f"This tokenizer does not keep the scores {', '.join(field.choices[:12])} as tokens of their own after "
                f"{field.lead} ({self.tokenizer.convert_ids_to_tokens(list(replies[0]))}): choose another scale in "
                "the rubric."
            )

    @staticmethod
    def _single_token(
        field: _FieldText, replies: Sequence[tuple[int, ...]]
    ) -> tuple[int, AnswerTokens] | None:
        """The only position at which the replies differ, and the token of each score at this position.

        None unless every score is one character and one token.
        """
        if any(len(text) > 1 for text in field.choices) or len(set(map(len, replies))) > 1:
            return None
        columns = list(zip(*replies, strict=True))
        differing = [position for position, tokens in enumerate(columns) if len(set(tokens)) > 1]
        if len(differing) != 1:
            return None
        return differing[0], AnswerTokens(scale=field.scale, scores=columns[differing[0]])

    def _several_tokens(
        self, fields: Sequence[_FieldText], number: int, replies: Sequence[tuple[int, ...]]
    ) -> tuple[int, AnswerTokens]:
        """The first position at which the replies differ, and the paths of the scores from this position.

        The text after a score is the common end of all replies and of two replies with other texts in place of the
        score. If the tokenizer merges the beginning of this text with a score, the common end is shorter.

        Raises:
            TokenizationError: the tokenizer merges a score with the end of the answer.
        """
        field, position = fields[number], common_length(replies)
        probes = [self._reply(fields, {number: text}) for text in ("A", "7")]
        reversed_ends = [reply[position:][::-1] for reply in replies]
        reversed_ends += [reply[::-1] for reply in probes]
        rest = common_length(reversed_ends)
        if rest == 0:
            raise TokenizationError(
                f"This tokenizer merges the scores {', '.join(field.choices[:12])} with the end of the answer: choose "
                "another scale in the rubric."
            )
        ending = 1
        while ending < rest and not _prefix_free(replies, rest - ending):
            ending += 1
        paths = tuple(reply[position : len(reply) - rest + ending] for reply in replies)
        return position, AnswerTokens(scale=field.scale, paths=paths, ending=ending)

    def _encode_options(self, field: _FieldText) -> AnswerTokens:
        """The options as complete answers, with their common beginning as the lead."""
        before = len(self._before)
        replies = [self._reply([field], {0: text})[before:] for text in field.choices]
        common = common_length([*replies, self.opening(field.lead)])
        return AnswerTokens(
            scale=field.scale,
            lead=replies[0][:common],
            options=tuple(reply[common:] for reply in replies),
        )


class _FieldText(NamedTuple):
    """The part of a `dramaeval.tasks.question.AnswerField` that determines its tokens, as a key of the cache."""

    lead: str
    choices: tuple[str, ...]
    scale: tuple[float, ...]
    tail: str
    options: bool


def _prefix_free(replies: Sequence[tuple[int, ...]], dropped: int) -> bool:
    """Whether no reply without its last ``dropped`` tokens is the beginning of another."""
    cut = sorted(reply[: len(reply) - dropped] for reply in replies)
    # In sorted order, a sequence is directly before the sequences that begin with it.
    return all(after[: len(path)] != path for path, after in pairwise(cut))


def common_length(sequences: Sequence[Sequence[int]]) -> int:
    """The number of leading tokens that all sequences share."""
    columns = enumerate(zip(*sequences, strict=False))
    lengths = (length for length, tokens in columns if len(set(tokens)) > 1)
    return next(lengths, min(map(len, sequences)))
