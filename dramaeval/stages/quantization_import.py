"""Imports that would cost a run's start more than all others, made cheap where nothing is lost by it."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

#: torch's own switch: functions that are handed to `torch.compile` while it is set stay as they are.
_SWITCH = "TORCHDYNAMO_DISABLE"
#: Optimizers that are certainly not of bitsandbytes; None is TRL's default, one of them.
_PLAIN_OPTIMIZERS = (None, "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad")


def import_quantization(config: DictConfig) -> None:
    """Import bitsandbytes without torch's compiler, where nothing of it is computed with.

    PEFT imports bitsandbytes wherever it is installed, and that hands four of its functions to `torch.compile`,
    which loads the whole compiler: 0.8 of 0.85 processor seconds. They serve devices without kernels of their
    own, for quantised weights and for its optimizers. Where a run asks for neither they stay uncompiled, as
    bitsandbytes itself leaves them where compiling fails: even a base that is stored quantised gets the same
    functions. Everything else is imported as ever.
    """
    if _may_quantize(config) or _SWITCH in os.environ or find_spec("bitsandbytes") is None:
        return
    os.environ[_SWITCH] = "1"
    try:
        importlib.import_module("bitsandbytes")
    finally:
        del os.environ[_SWITCH]


def _may_quantize(config: DictConfig) -> bool:
    """Whether this process may use bitsandbytes: by a setting, a checkpoint, or a later run of a sweep."""
    return bool(
        config.quantization
        or config.checkpoint
        or OmegaConf.select(config, "trainer.args.optim") not in _PLAIN_OPTIMIZERS
        or HydraConfig.get().mode != RunMode.RUN
    )
