"""The reply of an endpoint: answers, logprobs of their tokens, and numbers of tokens."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from dramaeval.data.problems import one_line


class MalformedReplyError(ValueError):
    """A reply does not follow the protocol."""


@dataclass(frozen=True)
class Token:
    """A token of an answer, and log-probabilities of the likeliest tokens at its position, with itself."""

    text: str
    alternatives: dict[str, float]


@dataclass(frozen=True)
class Completion:
    """One answer.

    Attributes:
        text: the model's text; may be empty.
        reason: why there is no usable answer (a refusal, a filter, no text); None otherwise.
        finished: whether the answer ended before the limit of tokens.
        tokens: the tokens of the text; empty if the endpoint gives no logprobs.
    """

    text: str
    reason: str | None
    finished: bool
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True)
class Reply:
    """The answers to one request, and the numbers of tokens by the endpoint's count."""

    completions: tuple[Completion, ...]
    input_tokens: int = 0
    audio_tokens: int = 0
    output_tokens: int = 0

    def to_text(self) -> str:
        """The reply as JSON, for the cache."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> Reply:
        """Read the result of `to_text`; raises ValueError, KeyError or TypeError for any other text."""
        values = json.loads(text)
        completions = tuple(
            Completion(**{**fields, "tokens": tuple(Token(**token) for token in fields["tokens"])})
            for fields in values.pop("completions")
        )
        return cls(completions, **values)


def read_reply(text: str) -> Reply:
    """Read the body of a chat completion.

    Raises:
        MalformedReplyError: the text is not JSON, or does not follow the protocol.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedReplyError("the reply is not JSON") from None
    if isinstance(body, dict) and body.get("error") and not body.get("choices"):
        # Some gateways report errors with status 200.
        raise MalformedReplyError(f"the reply is an error: {error_message(body['error'])}")
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        raise MalformedReplyError("the reply has no choices")
    try:
        completions = tuple(_completion(choice) for choice in choices)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MalformedReplyError("a choice of the reply is not as the protocol has it") from None
    usage = body.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return Reply(
        completions,
        input_tokens=_count(usage, "prompt_tokens"),
        audio_tokens=_count(details, "audio_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
    )


def error_message(error: Any) -> str:
    """The endpoint's description of an error, in one line."""
    text = str(error.get("message", error) if isinstance(error, dict) else error)
    return one_line(text, 200)


def _count(usage: Any, key: str) -> int:
    """The number at a key of an object; 0 if there is none."""
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else 0


def _completion(choice: Any) -> Completion:
    message, finish = choice["message"], choice.get("finish_reason")
    content, refusal = message.get("content"), message.get("refusal")
    if isinstance(content, list):  # some endpoints answer in parts
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError("content")
    reason = None
    if refusal:
        reason = f"the model refused: {one_line(str(refusal), 80)}"
    elif finish == "content_filter":
        reason = "the endpoint's content filter withheld the answer"
    elif not content and finish != "length":
        reason = "the model wrote no answer"
    tokens = ((choice.get("logprobs") or {}).get("content")) or ()
    return Completion(content or "", reason, finish != "length", tuple(map(_token, tokens)))


def _token(values: Any) -> Token:
    text = str(values["token"])
    alternatives = {
        str(other["token"]): _logprob(other["logprob"])
        for other in values.get("top_logprobs") or ()
    }
    # Some endpoints leave the written token out of its alternatives.
    return Token(text, {text: _logprob(values["logprob"]), **alternatives})


def _logprob(value: Any) -> float:
    """A log-probability; raises ValueError or TypeError for other values. Rounding may bring it above 0."""
    number = float(value)
    if not number <= 0.01:  # also NaN
        raise ValueError("logprob")
    return min(number, 0.0)
