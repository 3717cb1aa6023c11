"""Private parts of bitsandbytes, and of transformers' use of it.

The start of the command line imports this module, which therefore imports no torch.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import torch
    from torch import nn

_COMPILER_SWITCH = "TORCHDYNAMO_DISABLE"
#: Optimizers that are not bitsandbytes's; None is TRL's default, which is among them.
_OTHER_OPTIMIZERS = (
    None, "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad",
)  # fmt: skip
_QUANTISED = ("Linear4bit", "Linear8bitLt")


def import_without_compiler(config: DictConfig) -> None:
    """Import bitsandbytes with its functions uncompiled, unless this process may compute with them.

    Its advice on a faster kernel for 4-bit weights is shown only if ``quantization`` is set.

    Reaches: torch's switch TORCHDYNAMO_DISABLE, under which `torch.compile` returns a function as it is, and the
        logger of bitsandbytes' operations.
    Why: PEFT imports bitsandbytes wherever it is installed. The import hands four functions to `torch.compile`, which
    loads the compiler: 0.8 of 0.85 processor seconds. The functions serve devices without kernels of their own.
    Since: bitsandbytes 0.50.
    Remove when: importing bitsandbytes no longer imports ``torch._inductor.compile_fx``.
    """
    if find_spec("bitsandbytes") is None:
        return
    compiles = _may_compute(config) or _COMPILER_SWITCH in os.environ
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.disabled = not config.quantization
    if not compiles:
        os.environ[_COMPILER_SWITCH] = "1"
    try:
        importlib.import_module("bitsandbytes")
    finally:
        logger.disabled = False
        if not compiles:
            del os.environ[_COMPILER_SWITCH]


def _may_compute(config: DictConfig) -> bool:
    """Whether a setting, a checkpoint or a later run of a sweep may need compiled functions."""
    return bool(
        config.quantization
        or config.checkpoint
        or OmegaConf.select(config, "trainer.args.optim") not in _OTHER_OPTIMIZERS
        or HydraConfig.get().mode != RunMode.RUN
    )


def is_quantised(module: nn.Module) -> bool:
    """Whether a layer is quantised.

    Reaches: the names of bitsandbytes' layers.
    Why: a comparison of classes would import bitsandbytes in every run, which takes a second.
    Since: bitsandbytes 0.50.
    Remove when: transformers marks the layers that it has quantised.
    """
    kind = type(module)
    return kind.__name__ in _QUANTISED and kind.__module__.startswith("bitsandbytes")


def keep_packing(model: nn.Module) -> None:
    """Keep quantised weights as they were loaded, on CPUs with bfloat16 instructions.

    Reaches: ``Linear4bit.support_avx512bf16_for_cpu``.
    Why: the first evaluation would repack the weights, with scales rounded to bfloat16: the evaluated judge would differ
    from the trained one. Layers whose width is not a multiple of the block are refused.
    Since: bitsandbytes 0.49.
    Remove when: repacking is exact or has a switch.
    """
    module: Any
    for module in model.modules():
        if is_quantised(module) and hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def leave_out(config: Any, names: Sequence[str]) -> None:
    """Name layers of a `BitsAndBytesConfig` that are not quantised.

    Reaches: the matching of ``llm_int8_skip_modules`` in transformers, against the beginning of a layer's full name.
    Why: other versions have matched other parts of the name.
    Since: transformers 5.0.
    Remove when: the matching is documented.
    """
    config.llm_int8_skip_modules = [*(config.llm_int8_skip_modules or []), *names]


def weight_count(weight: nn.Parameter) -> int:
    """The number of weights that a parameter holds.

    Reaches: ``Params4bit.quant_state``.
    Why: a parameter in four bits holds two weights per element.
    Since: bitsandbytes 0.50.
    Remove when: the parameter has the shape of its weights.
    """
    state = getattr(weight, "quant_state", None)
    return state.shape.numel() if state is not None else weight.numel()


def dequantise(model: Any, dtype: torch.dtype) -> Any:
    """The model with plain layers that hold the values of its quantised ones.

    Reaches: ``is_loaded_in_4bit`` and ``is_loaded_in_8bit`` of a model.
    Why: `PreTrainedModel.dequantize` leaves them true, and PEFT chooses its layers by them.
    Since: transformers 5.0.
    Remove when: ``dequantize`` resets them.
    """
    model = model.dequantize(dtype=dtype)
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = False
    return model
