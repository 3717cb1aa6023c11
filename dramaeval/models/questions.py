"""Questions as tokens: the one place where a chat prompt and its answer are tokenised.

The mask of what is trained comes from the tokenised answer itself, so that padding, truncation or the length
of something else cannot move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

LEAD = "<answer>"
TAIL = "</answer>"


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
        processor: the model's processor, with ``tokenizer`` and chat template.
        end_of_turn: the text with which the model's chat format ends an answer.
    """

    def __init__(self, processor: Any, end_of_turn: str = "<|im_end|>") -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.end_of_turn = end_of_turn
        self._answers = lru_cache(maxsize=None)(self._encode_answers)

    def encode(self, messages: list[dict[str, Any]], scale: tuple[int, ...]) -> EncodedQuestion:
        """Tokenise one question; audio placeholders stand once each, see `EncodedQuestion.with_audio`."""
        text = self.processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return EncodedQuestion(prompt=self._ids(text), answer=self._answers(scale))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode_answers(self, scale: tuple[int, ...]) -> AnswerTokens:
        lead, tail = self._ids(LEAD), self._ids(TAIL + self.end_of_turn)
        scores = []
        for score in scale:
            own = self._ids(str(score))
            # Read together as they will be trained, so that a merge across a seam is noticed here.
            together = self._ids(f"assistant\n{LEAD}{score}{TAIL}{self.end_of_turn}")
            if len(own) != 1 or together[-len(lead) - 1 - len(tail) :] != (*lead, *own, *tail):
                raise TokenizationError(
                    f"This tokenizer does not keep the score {score} as one token of its own between "
                    f"{LEAD} and {TAIL} ({self.tokenizer.convert_ids_to_tokens(list(together))}). "
                    "Scores are read from one position, so each needs a single token: choose a scale of "
                    "single digits in the rubric."
                )
            scores.append(own[0])
        return AnswerTokens(scale=scale, lead=lead, scores=tuple(scores), tail=tail)
