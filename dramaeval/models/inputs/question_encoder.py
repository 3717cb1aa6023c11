"""Questions as tokens: the one place where a chat prompt and its answer are tokenised.

The mask of what is trained comes from the tokenised answer itself, so that padding, truncation or the length
of something else cannot move it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from dramaeval.tasks.question import LEAD, TAIL, AnswerField, Question

#: Stands before an answer while its tokens are looked up, so that they are those of running text.
_BEFORE = "assistant\n"


class TokenizationError(ValueError):
    """The tokenizer does not keep apart what scoring needs apart."""


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of every choice at one place of an answer: ``lead``, one of the choices, ``tail``.

    Scores are one token each, in ``scores``. Choices of several tokens are in ``options`` instead, each up to
    the very end of the answer, so that their likelihoods are those of whole answers and no option is favoured
    for being the beginning of another. ``scale`` holds what the choices stand for. After the last place the
    tail (or the option) holds the end of turn; a place before it has no tail.
    """

    scale: tuple[int, ...]
    lead: tuple[int, ...]
    scores: tuple[int, ...]
    tail: tuple[int, ...]
    options: tuple[tuple[int, ...], ...] = ()

    @property
    def choice_tokens(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of each choice."""
        return self.options or tuple((token,) for token in self.scores)


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as token ids, and one place of its answer; ``prompt`` ends where the answer begins."""

    prompt: tuple[int, ...]
    answer: AnswerTokens

    def with_audio(self, token: int, lengths: Sequence[int]) -> EncodedQuestion:
        """The same question with every audio placeholder repeated to its clip's length.

        Raises:
            TokenizationError: the prompt has another number of placeholders than there are clips.
        """
        places = [at for at, one in enumerate(self.prompt) if one == token]
        if len(places) != len(lengths):
            raise TokenizationError(
                f"The chat template renders {len(places)} audio placeholders for {len(lengths)} clips. "
                "The processor's chat template must put each clip of a message into the prompt."
            )
        prompt = list(self.prompt)
        for at, length in reversed(list(zip(places, lengths, strict=True))):
            prompt[at : at + 1] = [token] * length
        return replace(self, prompt=tuple(prompt))


class QuestionEncoder:
    """Renders chat messages with a processor's template and tokenises them.

    Args:
        processor: the model's processor, with ``tokenizer`` and chat template; or a tokenizer alone.
        end_of_turn: the text with which the model's chat format ends an answer.
        render: makes text or tokens of chat messages; None takes the processor's chat template.
        tokenise: makes tokens of text; None takes the tokenizer.
    """

    def __init__(
        self,
        processor: Any,
        end_of_turn: str = "<|im_end|>",
        render: Callable[[list[dict[str, Any]]], str | list[int]] | None = None,
        tokenise: Callable[[str], list[int]] | None = None,
    ) -> None:
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.end_of_turn = end_of_turn
        self.render = render or self._template
        self.tokenise = tokenise or self._tokenised
        self._places = lru_cache(maxsize=8192)(self._encode_places)

    def encode(self, messages: list[dict[str, Any]], scale: tuple[int, ...]) -> EncodedQuestion:
        """Tokenise a question for one score; audio placeholders stand once each, see `with_audio`."""
        place = _Written(LEAD, tuple(map(str, scale)), scale, TAIL, options=False)
        (answer,) = self._places((place,))
        return EncodedQuestion(prompt=self.prompt(messages), answer=answer)

    def encode_question(self, question: Question) -> list[EncodedQuestion]:
        """Tokenise a question: its prompt with each place of its answer, in order."""
        prompt = self.prompt(question.messages)
        answers = self._places(tuple(map(_Written.of, question.places)))
        return [EncodedQuestion(prompt=prompt, answer=answer) for answer in answers]

    def prompt(self, messages: list[dict[str, Any]]) -> tuple[int, ...]:
        """The tokens of chat messages up to where the answer begins."""
        made = self.render(messages)
        return self._ids(made) if isinstance(made, str) else tuple(made)

    def opening(self, text: str) -> tuple[int, ...]:
        """The tokens of a text with which an answer begins."""
        before = self._ids(_BEFORE)
        return self._ids(_BEFORE + text)[len(before) :]

    def _template(self, messages: list[dict[str, Any]]) -> str:
        return self.processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenise(text))

    def _tokenised(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _encode_places(self, places: tuple[_Written, ...]) -> tuple[AnswerTokens, ...]:
        """The answers as running text has them: they may differ in the tokens of the choices, and no other.

        Each place is found by writing its choices one after another while all other places keep their first.
        """
        if places[-1].options:
            return (self._encode_options(places),)
        first = self._reply(places, {})
        before = self._ids(_BEFORE)
        found: list[tuple[int, tuple[int, ...]]] = []
        for number, place in enumerate(places):
            replies = [self._reply(places, {number: text}) for text in place.choices]
            found.append(self._read_place(place, replies, before))
        answers = []
        begin = len(before)
        for number, (place, (at, scores)) in enumerate(zip(places, found, strict=True)):
            tail = first[at + 1 :] if number == len(places) - 1 else ()
            answers.append(
                AnswerTokens(scale=place.scale, lead=first[begin:at], scores=scores, tail=tail)
            )
            begin = at + 1
        return tuple(answers)

    def _reply(self, places: Sequence[_Written], chosen: dict[int, str]) -> tuple[int, ...]:
        text = "".join(
            f"{place.lead}{chosen.get(number, place.choices[0])}{place.tail}"
            for number, place in enumerate(places)
        )
        return self._ids(f"{_BEFORE}{text}{self.end_of_turn}")

    def _read_place(
        self, place: _Written, replies: Sequence[tuple[int, ...]], before: tuple[int, ...]
    ) -> tuple[int, tuple[int, ...]]:
        """Where the replies differ, which must be in one token, and the token of each there."""
        first = replies[0]
        for score, reply in zip(place.choices, replies, strict=True):
            differ = [
                at for at, pair in enumerate(zip(first, reply, strict=False)) if len(set(pair)) > 1
            ]
            wrong = len(reply) != len(first) or len(differ) != (score != place.choices[0])
            if wrong or reply[: len(before)] != before:
                raise TokenizationError(
                    f"This tokenizer does not keep the score {score} as one token of its own between "
                    f"{LEAD} and {TAIL} ({self.tokenizer.convert_ids_to_tokens(list(reply))}). "
                    "Scores are read from one position, so each needs a single token: choose a scale of "
                    "single digits in the rubric."
                )
        at = next(
            at for at, pair in enumerate(zip(first, replies[1], strict=True)) if len(set(pair)) > 1
        )
        return at, tuple(reply[at] for reply in replies)

    def _encode_options(self, places: tuple[_Written, ...]) -> AnswerTokens:
        """Options as whole answers: what all have in common at the beginning is the lead, the rest theirs."""
        (place,) = places
        before = len(self._ids(_BEFORE))
        replies = [self._reply(places, {0: text})[before:] for text in place.choices]
        common = _common_length([*replies, self.opening(place.lead)])
        return AnswerTokens(
            scale=place.scale,
            lead=replies[0][:common],
            scores=(),
            tail=(),
            options=tuple(reply[common:] for reply in replies),
        )


@dataclass(frozen=True)
class _Written:
    """What a place's tokens depend on."""

    lead: str
    choices: tuple[str, ...]
    scale: tuple[int, ...]
    tail: str
    options: bool

    @classmethod
    def of(cls, place: AnswerField) -> _Written:
        return cls(place.lead, place.choices, place.scale, place.tail, place.options)


def _common_length(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many leading tokens all sequences share, short of the end of any."""
    shortest = min(map(len, sequences))
    for at in range(shortest):
        if len({one[at] for one in sequences}) > 1:
            return at
    return shortest
