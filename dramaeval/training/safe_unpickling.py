"""Checkpoints are read as tensors and plain values: a pickle in one that would run code stops the training.

transformers reads its own files so. DeepSpeed (0.19) reads its files with ``weights_only=False``; PyTorch has
an environment variable that overrules the call, and a list of classes that such a file may hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any

import torch

from dramaeval.models.errors import ModelError

_FORCE, _FORBID = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


@contextmanager
def weights_only(*, deepspeed: bool = False) -> Iterator[None]:
    """In this block every `torch.load` reads weights only, whatever its caller asks for.

    Args:
        deepspeed: whether files of DeepSpeed's are read: the classes that it saves are let through.

    Raises:
        ModelError: a file holds anything else.
    """
    kept = {name: os.environ.pop(name, None) for name in (_FORCE, _FORBID)}
    os.environ[_FORCE] = "1"
    try:
        with torch.serialization.safe_globals(_of_deepspeed() if deepspeed else []):
            yield
    except UnpicklingError as error:
        reason = str(error).strip().splitlines()[:1]
        raise ModelError(
            "The checkpoint that training goes on from has a pickle that holds more than weights, and reading "
            "it could run code: it is not read. Start anew in another folder (hydra.run.dir=…). "
            f"({''.join(reason)})"
        ) from error
    finally:
        del os.environ[_FORCE]
        os.environ.update({name: value for name, value in kept.items() if value is not None})


def _of_deepspeed() -> list[Any]:
    """The classes in DeepSpeed's checkpoints of stages 1, 2 and 3, in 16 and 32 bits; they hold numbers."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]
