"""Private parts of PyTorch."""

from __future__ import annotations

import torch

_MESSAGES = (
    "can't allocate memory",  # the allocator on a CPU
    "out of memory",  # errors of CUDA that are not a torch.OutOfMemoryError
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on a GPU or on the CPU.

    Reaches: the messages of PyTorch's errors.
    Why: only CUDA's allocator raises `torch.OutOfMemoryError`; other allocators raise RuntimeError.
    Since: torch 2.8.
    Remove when: every allocator raises `torch.OutOfMemoryError`.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MESSAGES)
