"""Private parts of PEFT."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

_CAUSAL_ONLY = ("ADALORA", "PREFIX_TUNING", "PROMPT_TUNING")
#: The file of `save_ranks`.
RANK_SCHEDULE = "rank_schedule.safetensors"
_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


def set_task_type(config: Any) -> None:
    """Set the task of a configuration whose method PEFT only runs for causal language models.

    Reaches: the choice of PEFT's wrapper class by ``task_type``.
    Why: without a task AdaLoRA's orthogonality loss is not computed and virtual tokens are not prepended.
    Since: PEFT 0.18.
    Remove when: these methods run without a task.
    """
    if config.peft_type in _CAUSAL_ONLY and not config.task_type:
        config.task_type = "CAUSAL_LM"


def expand_pattern(config: Any, model: Any) -> None:
    """Replace a pattern for the layers that LoRA adapts by their full names, for a mixture of experts.

    Args:
        config: with ``target_modules``; it is changed.
        model: the model that gets the adapter.

    Reaches: `peft.utils.transformers_weight_conversion.convert_peft_config_for_transformers`.
    Why: for adapters of transformers 4 it replaces a pattern by the last parts of the names that it matches, which the
    audio tower has too. It leaves full names as they are.
    Since: PEFT 0.19, with transformers 5.
    Remove when: PEFT keeps a pattern that names no expert.
    """
    pattern = getattr(config, "target_modules", None)
    is_mixture = any(".experts." in name for name, _ in model.named_parameters())
    if config.peft_type == "LORA" and isinstance(pattern, str) and is_mixture:
        names = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
        config.target_modules = names or pattern


def without_defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a forward pass that were given.

    Reaches: the call of `PeftModelForCausalLM.forward`.
    Why: it passes every argument that a language model may have, as None, and ``return_dict``.
    Since: PEFT 0.18.
    Remove when: PEFT passes the given arguments only.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    given.pop("return_dict", None)
    return given


def base_name(name: str) -> str:
    """The name that a wrapped model's weight has in the model without PEFT.

    Reaches: the prefix of names under PEFT's wrapper.
    Why: parts of a model are known by their paths in transformers' class, which also begin with ``model.``.
    Since: PEFT 0.18.
    Remove when: PEFT has a function for it.
    """
    return name.removeprefix("base_model.model.")


def is_virtual_token(name: str) -> bool:
    """Whether a weight of a wrapped model belongs to virtual tokens.

    Reaches: the attribute ``prompt_encoder`` of `PeftModel`.
    Why: virtual tokens are weights of no module of the model.
    Since: PEFT 0.18.
    Remove when: PEFT has a function for it.
    """
    return name.startswith("prompt_encoder.")


def is_replaced(name: str) -> bool:
    """Whether a weight of a wrapped model is the first value of one that is trained in full beside the adapter.

    Reaches: the attribute ``original_module`` of `ModulesToSaveWrapper`.
    Why: PEFT keeps both modules, and only one of them is used.
    Since: PEFT 0.18.
    Remove when: PEFT has a function for it.
    """
    return ".original_module." in name


def freeze_rank_counters(model: Any) -> None:
    """Freeze the counters of AdaLoRA's ranks.

    Reaches: the parameters called ``ranknum``.
    Why: PEFT does not save them, and moving them to a device makes them trainable.
    Since: PEFT 0.18.
    Remove when: they are buffers.
    """
    for name, weight in model.named_parameters():
        if ".ranknum." in name:
            weight.requires_grad_(False)


def load_virtual_tokens(wrapper: Any, folder: Any, *, trainable: bool) -> Any:
    """Load saved virtual tokens into a new wrapper.

    Reaches: `PeftModel.load_adapter` for a method that learns virtual tokens.
    Why: `PeftModel.from_pretrained` refuses to make them trainable, because of prefixes with a projection, which it
    does not save.
    Since: PEFT 0.18.
    Remove when: ``from_pretrained(…, is_trainable=True)`` takes virtual tokens without a projection.
    """
    wrapper.load_adapter(folder, "default", is_trainable=trainable)
    return wrapper


def adalora_settings(model: Any) -> Any:
    """The settings of a model's active AdaLoRA adapter; None for any other model."""
    adapters = getattr(model, "peft_config", None) or {}
    settings = adapters.get(getattr(model, "active_adapter", None))
    return settings if settings is not None and settings.peft_type == "ADALORA" else None


def save_ranks(model: Any, folder: Path) -> None:
    """Write the adapter at full rank, the pattern of the ranks in use, and their running importance.

    Reaches: ``base_model.rankallocator`` with ``ipt``, ``exp_avg_ipt``, ``exp_avg_unc`` and
    ``mask_using_rank_pattern``, and ``rank_pattern`` of the adapter's settings; so do the functions below.
    Why: PEFT saves an AdaLoRA adapter without its spare ranks and their running importance. A training that resumes
    from these files would give other weights.
    Since: PEFT 0.17.
    Remove when: ``save_pretrained`` and ``load_adapter`` keep the allocator's state, as the contract test shows.
    """
    allocator = model.base_model.rankallocator
    tensors = {f"weight/{name}": weight.detach() for name, weight in _adalora_weights(model)}
    for kind in _AVERAGES:
        tensors |= {f"{kind}/{name}": value for name, value in getattr(allocator, kind).items()}
    pattern = json.dumps(adalora_settings(model).rank_pattern)
    tensors = {name: value.contiguous().clone() for name, value in tensors.items()}
    save_file(tensors, folder / RANK_SCHEDULE, metadata={"rank_pattern": pattern})


def load_ranks(model: Any, folder: Path) -> None:
    """Read the file of `save_ranks` into a model with the same settings."""
    allocator = model.base_model.rankallocator
    with safe_open(folder / RANK_SCHEDULE, "pt") as file:
        keys = file.keys()
        pattern = json.loads(file.metadata()["rank_pattern"])
        for name, weight in _adalora_weights(model):
            with torch.no_grad():
                weight.copy_(file.get_tensor(f"weight/{name}"))
        device = next(weight.device for _, weight in _adalora_weights(model))
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
        for name, weight in _adalora_weights(model)
        if pattern and "lora_E" in name and (key := _pattern_key(name, pattern)) is not None
    )
    if pattern and full:
        model.base_model.rankallocator.mask_using_rank_pattern(model.base_model.model, pattern)


def _pattern_key(name: str, pattern: dict[str, Any]) -> str | None:
    """The pattern's key of a weight; PEFT omits the adapter's name after it has saved once."""
    short = name.replace(".default", "")
    return next((key for key in (name, short) if key in pattern), None)


def _adalora_weights(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """AdaLoRA's weights, named as its allocator names them."""
    named = model.base_model.model.named_parameters()
    return [(name, weight) for name, weight in named if "lora_" in name]
