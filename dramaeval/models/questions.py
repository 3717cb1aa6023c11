"""Questions as tokens: the one place where a chat prompt and its answer are tokenised.

The mask of what is trained comes from the tokenised answer itself, so that padding, truncation or the length
of something else cannot move it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

LEAD = "<answer>"
TAIL = "</answer>"
#: Stands before an answer while its tokens are looked up, so that they are those of running text.
_BEFORE = "assistant\n"


class TokenizationError(ValueError):
    """The tokenizer does not keep apart what scoring needs apart."""


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of every possible answer: ``lead``, one of ``scores``, ``tail`` with the end of turn.

    ``scale`` holds the scores that the tokens in ``scores`` stand for.
    """

    scale: tuple[int, ...]
    lead: tuple[int, ...]
    scores: tuple[int, ...]
    tail: tuple[int, ...]


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as token ids; ``prompt`` ends where the answer begins."""

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
        self._answers = lru_cache(maxsize=None)(self._encode_answers)

    def encode(self, messages: list[dict[str, Any]], scale: tuple[int, ...]) -> EncodedQuestion:
        """Tokenise one question; audio placeholders stand once each, see `EncodedQuestion.with_audio`."""
        made = self.render(messages)
        prompt = self._ids(made) if isinstance(made, str) else tuple(made)
        return EncodedQuestion(prompt=prompt, answer=self._answers(scale))

    def _template(self, messages: list[dict[str, Any]]) -> str:
        return self.processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenise(text))

    def _tokenised(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _encode_answers(self, scale: tuple[int, ...]) -> AnswerTokens:
        """The answers as running text has them: they may differ in one token, the score, and no other."""
        before = self._ids(_BEFORE)
        replies = [self._ids(f"{_BEFORE}{LEAD}{score}{TAIL}{self.end_of_turn}") for score in scale]
        first = replies[0]
        for score, reply in zip(scale, replies, strict=True):
            differ = [
                at for at, pair in enumerate(zip(first, reply, strict=False)) if len(set(pair)) > 1
            ]
            wrong = len(reply) != len(first) or len(differ) != (score != scale[0])
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
        return AnswerTokens(
            scale=scale,
            lead=first[len(before) : at],
            scores=tuple(reply[at] for reply in replies),
            tail=first[at + 1 :],
        )
