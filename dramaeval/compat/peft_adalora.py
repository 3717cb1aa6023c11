"""AdaLoRA's allocator in PEFT: the state that PEFT does not save.

Reaches: ``base_model.rankallocator`` with ``ipt``, ``exp_avg_ipt``, ``exp_avg_unc`` and
``mask_using_rank_pattern``, and ``rank_pattern`` of the adapter's settings.
Why: PEFT saves an AdaLoRA adapter without its spare ranks and their running importance. A training that resumes
from these files would give other weights.
Since: PEFT 0.17.
Remove when: ``save_pretrained`` and ``load_adapter`` keep the allocator's state, as the contract test shows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

FILE = "rank_schedule.safetensors"
_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


def adalora_settings(model: Any) -> Any:
    """The settings of a model's active AdaLoRA adapter; None for any other model."""
    adapters = getattr(model, "peft_config", None) or {}
    settings = adapters.get(getattr(model, "active_adapter", None))
    return settings if settings is not None and settings.peft_type == "ADALORA" else None


def save_ranks(model: Any, folder: Path) -> None:
    """Write the adapter at full rank, the pattern of the ranks in use, and their running importance."""
    allocator = model.base_model.rankallocator
    tensors = {f"weight/{name}": weight.detach() for name, weight in _weights(model)}
    for kind in _AVERAGES:
        tensors |= {f"{kind}/{name}": value for name, value in getattr(allocator, kind).items()}
    pattern = json.dumps(adalora_settings(model).rank_pattern)
    tensors = {name: value.contiguous().clone() for name, value in tensors.items()}
    save_file(tensors, folder / FILE, metadata={"rank_pattern": pattern})


def load_ranks(model: Any, folder: Path) -> None:
    """Read the file of `save_ranks` into a model with the same settings."""
    allocator = model.base_model.rankallocator
    with safe_open(folder / FILE, "pt") as file:
        keys = file.keys()
        pattern = json.loads(file.metadata()["rank_pattern"])
        for name, weight in _weights(model):
            with torch.no_grad():
                weight.copy_(file.get_tensor(f"weight/{name}"))
        device = next(weight.device for _, weight in _weights(model))
        for kind in _AVERAGES:
            names = [key.partition("/")[2] for key in keys if key.startswith(f"{kind}/")]
            values = {name: file.get_tensor(f"{kind}/{name}").to(device) for name in names}
            setattr(allocator, kind, values)
    adalora_settings(model).rank_pattern = pattern


def mask_unused_ranks(model: Any) -> None:
    """Set the ranks that are not in use to zero, as saving does; between two allocations they can hold values."""
    settings = adalora_settings(model)
    pattern = settings.rank_pattern if settings else None
    full = all(
        weight.shape[0] == len(pattern[key])
        for name, weight in _weights(model)
        if pattern and "lora_E" in name and (key := _pattern_key(name, pattern)) is not None
    )
    if pattern and full:
        model.base_model.rankallocator.mask_using_rank_pattern(model.base_model.model, pattern)


def _pattern_key(name: str, pattern: dict[str, Any]) -> str | None:
    """The pattern's key of a weight; PEFT omits the adapter's name after it has saved once."""
    short = name.replace(".default", "")
    return next((key for key in (name, short) if key in pattern), None)


def _weights(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """AdaLoRA's weights, named as its allocator names them."""
    named = model.base_model.model.named_parameters()
    return [(name, weight) for name, weight in named if "lora_" in name]
