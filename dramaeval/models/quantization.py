"""Quantised base models: the language model in four or eight bits, and all other parts unchanged.

Audio tower and projector are small and would lose accuracy, and the vocabulary head gives the scores. They are not
quantised, and this is checked on the loaded model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dramaeval.compat.bitsandbytes import is_quantised, leave_out
from dramaeval.models.errors import ModelError

#: The file in an adapter's folder with the settings of its quantised base.
FILE = "quantization.json"


def for_language_model(
    config: Any,
    parts: Mapping[str, str],
    skeleton: Any,
    dtype: torch.dtype,
    unquantised: Sequence[str] = (),
) -> Any:
    """Copy a quantisation configuration, and limit it to the layers of the language model.

    Args:
        config: `transformers.BitsAndBytesConfig`.
        parts: module path of each part, see `Family.parts`.
        skeleton: the model without weights.
        dtype: dtype of the computation, if the configuration names none.
        unquantised: see `Family.unquantised`.
    """
    config = copy.deepcopy(config)
    paths = [path for part, path in parts.items() if part != "llm"]
    inside = tuple(f"{path}." for path in parts.values())
    others = [
        name
        for name, _ in _linear_layers(skeleton)
        if not name.startswith(inside) or any(part in name for part in unquantised)
    ]
    leave_out(config, [*paths, *others])
    if config.bnb_4bit_compute_dtype is None:
        config.bnb_4bit_compute_dtype = dtype
    return config


def check_quantised(model: Any, parts: Mapping[str, str]) -> None:
    """Check that layers of the language model are quantised, and no other layers.

    Raises:
        ModelError: they are not; the message names the first wrong layers.
    """
    quantised = [name for name, module in model.named_modules() if is_quantised(module)]
    wrong = [name for name in quantised if not name.startswith(f"{parts['llm']}.")]
    if wrong:
        raise ModelError(
            f"quantization: {len(wrong)} layers outside the language model were quantised "
            f"({', '.join(wrong[:3])}{', …' if len(wrong) > 3 else ''}), which would harm audio encodings and "
            "scores. This version of transformers reads quantization.llm_int8_skip_modules in another way: name "
            "these layers there, or use another version."
        )
    if not quantised:
        raise ModelError(
            "quantization is set, but no layer of the language model was quantised. Check "
            "quantization.load_in_4bit=true and quantization.llm_int8_skip_modules."
        )


def write_quantization(config: Any, folder: Path) -> None:
    """Write the settings of a quantisation into an adapter's folder."""
    text = json.dumps(config.to_dict(), indent=2, default=str)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_quantization(folder: Path) -> Any | None:
    """The quantisation of the base on which a saved adapter was trained; None without quantisation."""
    if not (folder / FILE).is_file():
        return None
    from transformers import BitsAndBytesConfig

    values = json.loads((folder / FILE).read_text(encoding="utf-8"))
    arguments = {key: value for key, value in values.items() if not key.startswith(("_", "quant_"))}
    return BitsAndBytesConfig(**arguments)


def packed_bytes(
    config: Any, skeleton: Any, parts: Mapping[str, str], unquantised: Sequence[str] = ()
) -> tuple[int, float]:
    """The number of quantised weights, and the bytes per weight with the quantisation scales."""
    excluded = ("lora_", *unquantised)
    packed = sum(
        module.weight.numel()
        for name, module in _linear_layers(skeleton)
        if f"{parts['llm']}." in name and not any(part in name for part in excluded)
    )
    if not config.load_in_4bit:
        return packed, 1.0
    # 64 weights share a scale of 32 bits; with double quantisation, of 8 bits, and 256 scales share 32 bits.
    scale = 8 / 64 + 32 / (64 * 256) if config.bnb_4bit_use_double_quant else 32 / 64
    return packed, (4 + scale) / 8


def _linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            yield name, module
