"""Private parts of bitsandbytes, and of transformers' use of it.

The command line imports this module at its start, so this module does not import torch.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    import torch
    from torch import nn

_COMPILER_SWITCH = "TORCHDYNAMO_DISABLE"
#: Optimizers that do not belong to bitsandbytes; None stands for TRL's default, which is one of them.
_OTHER_OPTIMIZERS = (None, "adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad")
_QUANTISED = ("Linear4bit", "Linear8bitLt")


def import_without_compiler(config: DictConfig) -> None:
    """Import bitsandbytes with its functions uncompiled, unless this process may compute with them.

    bitsandbytes' advice on a faster kernel for 4-bit weights is shown only if ``quantization`` is set.

    Reaches: the logger of bitsandbytes' operations; see `without_compiler`.
    Why: see `without_compiler`.
    Since: bitsandbytes 0.50.
    Remove when: importing bitsandbytes no longer imports ``torch._inductor.compile_fx``.
    """
    if find_spec("bitsandbytes") is None:
        return
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.disabled = not config.quantization
    try:
        with contextlib.nullcontext() if may_compute(config) else without_compiler():
            importlib.import_module("bitsandbytes")
    finally:
        logger.disabled = False


@contextlib.contextmanager
def without_compiler() -> Iterator[None]:
    """Let an import of bitsandbytes inside this block leave its functions uncompiled.

    Reaches: torch's switch TORCHDYNAMO_DISABLE, with which `torch.compile` returns a function unchanged.
    Why: PEFT imports bitsandbytes if it is installed. The import passes four functions to `torch.compile`, which loads
    the compiler: 0.8 of 0.85 processor seconds. These functions serve devices for which bitsandbytes has no kernels.
    Since: bitsandbytes 0.50.
    Remove when: importing bitsandbytes no longer imports ``torch._inductor.compile_fx``.
    """
    if _COMPILER_SWITCH in os.environ:
        yield
        return
    os.environ[_COMPILER_SWITCH] = "1"
    try:
        yield
    finally:
        del os.environ[_COMPILER_SWITCH]


def may_compute(config: DictConfig) -> bool:
    """Whether a setting or a checkpoint of a run may need compiled functions."""
    return bool(
        config.quantization
        or config.checkpoint
        or OmegaConf.select(config, "trainer.args.optim") not in _OTHER_OPTIMIZERS
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
    """Prevent bitsandbytes from repacking quantised weights on CPUs with bfloat16 instructions.

    Reaches: ``Linear4bit.support_avx512bf16_for_cpu``.
    Why: the first evaluation would repack the weights and round their scales to bfloat16, so that the evaluated judge
    would differ from the trained judge. Repacking also fails for layers whose width is not a multiple of the block.
    Since: bitsandbytes 0.49.
    Remove when: repacking is exact or has a switch.
    """
    module: Any
    for module in model.modules():
        if is_quantised(module) and hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def leave_out(config: Any, names: Sequence[str]) -> None:
    """Exclude layers from quantization in a `BitsAndBytesConfig`.

    Reaches: transformers' comparison of ``llm_int8_skip_modules`` with the beginning of a layer's full name.
    Why: earlier versions compared other parts of the name.
    Since: transformers 5.0.
    Remove when: the comparison is documented.
    """
    config.llm_int8_skip_modules = [*(config.llm_int8_skip_modules or []), *names]


def weight_count(weight: nn.Parameter) -> int:
    """The number of weights in a parameter.

    Reaches: ``Params4bit.quant_state``.
    Why: an element of a 4-bit parameter holds two weights.
    Since: bitsandbytes 0.50.
    Remove when: the parameter has the shape of its weights.
    """
    state = getattr(weight, "quant_state", None)
    return state.shape.numel() if state is not None else weight.numel()


def dequantise(model: Any, dtype: torch.dtype) -> Any:
    """Replace a model's quantised layers with plain layers of the same values.

    Reaches: ``is_loaded_in_4bit`` and ``is_loaded_in_8bit`` of a model.
    Why: `PreTrainedModel.dequantize` leaves these attributes true, and PEFT chooses its layers by them.
    Since: transformers 5.0.
    Remove when: ``dequantize`` resets them.
    """
    model = model.dequantize(dtype=dtype)
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = False
    return model
