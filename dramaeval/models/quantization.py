"""Quantised bases: the language model in few bits, everything else as it is.

The audio tower and the projector are small and hear worse for it, and the vocabulary head gives the scores,
so they are kept out. Which lists of names transformers matches how has changed from version to version;
therefore the loaded model itself is looked at.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dramaeval.models.errors import ModelError

if TYPE_CHECKING:
    from dramaeval.models.families.base import Family

#: Lies beside an adapter that was trained on a quantised base, and says how that was quantised.
FILE = "quantization.json"
_QUANTISED = ("Linear4bit", "Linear8bitLt")


def only_language_model(config: Any, family: Family, skeleton: Any, dtype: torch.dtype) -> Any:
    """A copy of a quantisation that names every layer to be left alone, and computes in the weights' dtype.

    Args:
        config: `transformers.BitsAndBytesConfig`.
        family: says where the language model is.
        skeleton: the model without weights.
        dtype: of the weights that are not quantised; taken where the configuration names none.
    """
    inside = f"{family.parts['llm']}."
    outside = [
        name
        for name, module in skeleton.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(inside)
    ]
    config = copy.deepcopy(config)
    # Full names: transformers compares from the start of a layer's name.
    parts = [path for part, path in family.parts.items() if part != "llm"]
    own = [name for name in outside if not name.startswith(tuple(f"{path}." for path in parts))]
    config.llm_int8_skip_modules = [*(config.llm_int8_skip_modules or []), *parts, *own]
    if config.bnb_4bit_compute_dtype is None:
        config.bnb_4bit_compute_dtype = dtype
    return config


def require_language_model_only(model: Any, family: Family) -> None:
    """Stop unless the language model has quantised layers and nothing else has.

    Raises:
        ModelError: it names the layers that are wrong.
    """
    inside = f"{family.parts['llm']}."
    quantised = [name for name, module in model.named_modules() if is_quantised(module)]
    wrong = [name for name in quantised if not name.startswith(inside)]
    if wrong:
        raise ModelError(
            f"quantization: {len(wrong)} layers outside of the language model came out quantised "
            f"({', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}), which would spoil hearing and scores. "
            "This version of transformers reads quantization.llm_int8_skip_modules in another way: name these "
            "layers there, or use another version."
        )
    if not quantised:
        raise ModelError(
            "quantization is set, but no layer of the language model came out quantised. Check "
            "quantization.load_in_4bit=true and quantization.llm_int8_skip_modules."
        )


def keep_as_loaded(model: Any) -> None:
    """Keep bitsandbytes from repacking weights on CPUs with bfloat16 instructions.

    It would do so in the first evaluation: scales are rounded to bfloat16, so that another judge is measured
    than is trained, and layers whose width is no multiple of the block are refused.
    """
    for module in model.modules():
        if is_quantised(module) and hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def is_quantised(module: nn.Module) -> bool:
    """Whether a layer is one of bitsandbytes' (or PEFT's wrapper has left it so)."""
    return type(module).__name__ in _QUANTISED and type(module).__module__.startswith(
        "bitsandbytes"
    )


def write_quantization(config: Any, folder: Path) -> None:
    """Leave word beside an adapter of how its base was quantised."""
    text = json.dumps(config.to_dict(), indent=2, default=str)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_quantization(folder: Path) -> Any | None:
    """How the base of a saved adapter was quantised; None where it was not."""
    if not (folder / FILE).is_file():
        return None
    from transformers import BitsAndBytesConfig

    values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    known = {key: value for key, value in values.items() if not key.startswith(("_", "quant_"))}
    return BitsAndBytesConfig(**known)


def dequantise(model: Any, dtype: torch.dtype) -> Any:
    """The same model with plain layers whose weights are those that the quantised ones stood for."""
    model = model.dequantize(dtype=dtype)
    # PEFT chooses its layers by these.
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = False
    return model


def packed_bytes(config: Any, skeleton: Any, family: Family) -> tuple[int, float]:
    """How many weights a quantisation packs, and the bytes that each then takes, its scales included."""
    inside = f"{family.parts['llm']}."
    packed = sum(
        module.weight.numel()
        for name, module in skeleton.named_modules()
        if isinstance(module, nn.Linear) and inside in name and "lora_" not in name
    )
    if not config.load_in_4bit:
        return packed, 1.0
    # A scale of 32 bits for 64 weights; with double quantisation of 8 bits, and 32 for 256 of those.
    scale = 8 / 64 + 32 / (64 * 256) if config.bnb_4bit_use_double_quant else 32 / 64
    return packed, (4 + scale) / 8
