"""Trouble that ends a run and that the user can mend: what it is, and the numbers that belong to it."""

from __future__ import annotations

from typing import Any

import torch

from dramaeval.errors import UserFacingError
from dramaeval.models.inputs.collation import Batch

#: Mel frames a second, as every supported encoder takes them.
_FRAMES_A_SECOND = 100
_SIGNS = (
    "can't allocate memory",  # PyTorch's allocator on CPU
    "out of memory",  # CUDA, where it does not come as torch.OutOfMemoryError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)


class TrainingFailureError(UserFacingError, RuntimeError):
    """A run that cannot go on; the message shows the numbers at hand and says what to try."""


class MemoryExhaustedError(TrainingFailureError):
    """There is not enough memory for a step."""


class NonFiniteLossError(TrainingFailureError):
    """The loss or its gradient became NaN or infinite."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def size_of(batch: Batch) -> str:
    """A batch's size in words: clips, questions, the longest of each."""
    parts = [f"{batch.clips} clips", f"{batch.questions} questions"]
    frames = batch.inputs.get("feature_frames")
    if frames is not None:
        parts.append(f"longest clip {float(frames.max()) / _FRAMES_A_SECOND:.1f} s")
    parts.append(f"longest prompt {batch.longest_question:,} tokens")
    parts.append(f"{batch.tokens:,} tokens in all")
    return ", ".join(parts)


def parameters_of(model: Any) -> str:
    """A model's size in words."""
    weights = list(model.parameters())
    total = sum(weight.numel() for weight in weights)
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    dtype = str(weights[0].dtype).removeprefix("torch.")
    return f"{total:,} parameters, {trained:,} trainable, {dtype}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def failure_message(head: str, facts: list[str], advice: list[str]) -> str:
    """One message: what happened, the numbers, what to try, in this order."""
    numbered = [f"  {number}. {text}" for number, text in enumerate(advice, 1)]
    tries = ["Try, in this order:", *numbered] if numbered else []
    return "\n".join([head, *(f"  {fact}" for fact in facts), *tries])
