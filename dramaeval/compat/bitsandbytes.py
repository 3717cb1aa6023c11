"""bitsandbytes: imported without torch's compiler where nothing is computed with it.

Reaches: torch's switch TORCHDYNAMO_DISABLE, under which `torch.compile` returns a function as it is.
Why: PEFT imports bitsandbytes wherever it is installed. The import hands four functions to `torch.compile`, which
    loads the compiler: 0.8 of 0.85 processor seconds. The functions serve devices without kernels of their own.
Since: bitsandbytes 0.50.
Remove when: importing bitsandbytes no longer imports ``torch._inductor.compile_fx``.
"""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

_SWITCH = "TORCHDYNAMO_DISABLE"
#: Optimizers that are not bitsandbytes's; None is TRL's default, which is among them.
_OTHER_OPTIMIZERS = (
    None, "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad",
)  # fmt: skip


def import_without_compiler(config: DictConfig) -> None:
    """Import bitsandbytes with its functions uncompiled, unless this process may compute with them."""
    if _may_compute(config) or _SWITCH in os.environ or find_spec("bitsandbytes") is None:
        return
    os.environ[_SWITCH] = "1"
    try:
        importlib.import_module("bitsandbytes")
    finally:
        del os.environ[_SWITCH]


def _may_compute(config: DictConfig) -> bool:
    """Whether a setting, a checkpoint or a later run of a sweep may need compiled functions."""
    return bool(
        config.quantization
        or config.checkpoint
        or OmegaConf.select(config, "trainer.args.optim") not in _OTHER_OPTIMIZERS
        or HydraConfig.get().mode != RunMode.RUN
    )
