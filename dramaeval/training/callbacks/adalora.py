"""AdaLoRA in training: its ranks are moved each step, and a checkpoint holds all that this goes by.

Zhang et al. 2023, "AdaLoRA" (arXiv 2303.10512). PEFT saves an adapter with its spare ranks cut off and without
the running importance of each; training taken up from that would go another way. So checkpoints hold both
besides, in a file of their own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import TrainerCallback

FILE = "rank_schedule.safetensors"
_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


def schedule(total: int) -> dict[str, int]:
    """AdaLoRA's phases for a run of so many steps: a tenth before and three tenths after ranks move."""
    return {"total_step": total, "tinit": total // 10, "tfinal": 3 * total // 10}


def is_adalora(model: Any) -> bool:
    """Whether a model carries an AdaLoRA adapter."""
    return _settings(model) is not None


def moves_ranks(model: Any) -> bool:
    """Whether its ranks are still to be found; those of an adapter that was trained before stay."""
    settings = _settings(model)
    return settings is not None and settings.rank_pattern is None


def _settings(model: Any) -> Any:
    """Those of AdaLoRA, or None."""
    found = getattr(model, "peft_config", None) or {}
    settings = found.get(getattr(model, "active_adapter", None))
    return settings if settings is not None and settings.peft_type == "ADALORA" else None


class RankSchedule(TrainerCallback):
    """Moves the ranks after each optimizer step, while the gradients that it goes by are still there."""

    def on_optimizer_step(
        self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any
    ) -> None:
        """The step that has just been taken is not counted yet."""
        model.base_model.update_and_allocate(state.global_step + 1)


def save_ranks(model: Any, folder: Path) -> None:
    """Write the adapter at its full ranks, the ranks in use and the running importance."""
    allocator = model.base_model.rankallocator
    held = {f"weight/{name}": weight.detach() for name, weight in _weights(model)}
    for kind in _AVERAGES:
        held |= {f"{kind}/{name}": value for name, value in getattr(allocator, kind).items()}
    pattern = json.dumps(_settings(model).rank_pattern)
    tensors = {name: value.contiguous().clone() for name, value in held.items()}
    save_file(tensors, folder / FILE, metadata={"rank_pattern": pattern})


def load_ranks(model: Any, folder: Path) -> None:
    """Take up what `save_ranks` wrote, into a model of the same settings."""
    allocator, settings = model.base_model.rankallocator, _settings(model)
    with safe_open(folder / FILE, "pt") as held:
        keys = held.keys()
        pattern = json.loads(held.metadata()["rank_pattern"])
        for name, weight in _weights(model):
            with torch.no_grad():
                weight.copy_(held.get_tensor(f"weight/{name}"))
        device = next(weight.device for _, weight in _weights(model))
        for kind in _AVERAGES:
            own = {key.partition("/")[2]: key for key in keys if key.startswith(f"{kind}/")}
            values = {name: held.get_tensor(key).to(device) for name, key in own.items()}
            setattr(allocator, kind, values)
    settings.rank_pattern = pattern


def cut_ranks(model: Any) -> None:
    """Empty the ranks that are not in use, as saving will; between two allocations they may hold something."""
    settings = _settings(model)
    pattern = settings.rank_pattern if settings else None
    full = all(
        weight.shape[0] == len(pattern[key])
        for name, weight in _weights(model)
        if pattern and "lora_E" in name and (key := _key(name, pattern)) is not None
    )
    if pattern and full:
        model.base_model.rankallocator.mask_using_rank_pattern(model.base_model.model, pattern)


def _key(name: str, pattern: dict[str, Any]) -> str | None:
    """The pattern's key of a weight; PEFT leaves the adapter's name out after it has saved once."""
    short = name.replace(".default", "")
    return next((key for key in (name, short) if key in pattern), None)


def _weights(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """AdaLoRA's own weights, named as its allocator names them."""
    return [one for one in model.base_model.model.named_parameters() if "lora_" in one[0]]
