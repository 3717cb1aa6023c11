"""Errors about exhausted memory and non-finite losses, and the numbers in their messages."""

from __future__ import annotations

from typing import Any

from dramaeval.data.logmel import FRAMES_PER_SECOND
from dramaeval.errors import UserFacingError
from dramaeval.models.inputs.batch import Batch


class TrainingFailureError(UserFacingError, RuntimeError):
    """A training cannot continue; the message gives the numbers and advice."""


class MemoryExhaustedError(TrainingFailureError):
    """There is not enough memory for a step."""


class NonFiniteLossError(TrainingFailureError):
    """The loss or its gradient became NaN or infinite."""


def size_of(batch: Batch) -> str:
    """The size of a batch: numbers of clips and questions, the longest of each, and tokens."""
    parts = [f"{batch.clips} clips", f"{batch.questions} questions"]
    frames = batch.inputs.get("feature_frames")
    if frames is not None:
        parts.append(f"longest clip {float(frames.max()) / FRAMES_PER_SECOND:.1f} s")
    parts.append(f"longest prompt {batch.longest_question:,} tokens")
    parts.append(f"{batch.tokens:,} tokens in all")
    return ", ".join(parts)


def parameters_of(model: Any) -> str:
    """The size of a model: parameters, trainable parameters, dtype."""
    weights = list(model.parameters())
    total = sum(weight.numel() for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    dtype = str(weights[0].dtype).removeprefix("torch.")
    return f"{total:,} parameters, {trained:,} trainable, {dtype}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message; the name of its class if there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def failure_message(head: str, facts: list[str], advice: list[str]) -> str:
    """Format a message: a first line, lines with facts, and numbered advice."""
    numbered = [f"  {number}. {text}" for number, text in enumerate(advice, 1)]
    tries = ["Try, in this order:", *numbered] if numbered else []
    return "\n".join([head, *(f"  {fact}" for fact in facts), *tries])
