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
    """Set the task type of methods that PEFT supports for causal language models only.

    Reaches: PEFT's choice of its wrapper class by ``task_type``.
    Why: without a task type, AdaLoRA's orthogonality loss is not computed and virtual tokens are not prepended.
    Since: PEFT 0.18.
    Remove when: these methods work without a task type.
    """
    if config.peft_type in _CAUSAL_ONLY and not config.task_type:
        config.task_type = "CAUSAL_LM"


def expand_pattern(config: Any, model: Any) -> None:
    """In a mixture of experts, replace the pattern of the layers that LoRA adapts with the layers' full names.

    Args:
        config: the adapter's settings; ``target_modules`` is changed.
        model: the model that gets the adapter.

    Reaches: `peft.utils.transformers_weight_conversion.convert_peft_config_for_transformers`.
    Why: for adapters of transformers 4, this function replaces a pattern with the last parts of the matching names,
    which also match layers of the audio tower. It keeps full names.
    Since: PEFT 0.19, with transformers 5.
    Remove when: PEFT keeps a pattern that names no expert.
    """
    pattern = getattr(config, "target_modules", None)
    is_mixture = any(".experts." in name for name, _ in model.named_parameters())
    if config.peft_type == "LORA" and isinstance(pattern, str) and is_mixture:
        names = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
        config.target_modules = names or pattern


def without_defaults(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a forward pass without those that PEFT adds.

    Reaches: the call of the model by `PeftModelForCausalLM.forward`.
    Why: PEFT passes ``return_dict``, and passes None for every argument of a language model that the caller omits.
    Since: PEFT 0.18.
    Remove when: PEFT passes only the caller's arguments.
    """
    return {
        name: value
        for name, value in arguments.items()
        if value is not None and name != "return_dict"
    }


def base_name(name: str) -> str:
    """The name of a wrapped model's weight in the model without PEFT.

    Reaches: the prefix of names in PEFT's wrapper.
    Why: paths of a model's parts are those in transformers' class, which also begin with ``model.``.
    Since: PEFT 0.18.
    Remove when: PEFT has a public function for this.
    """
    return name.removeprefix("base_model.model.")


def is_virtual_token(name: str) -> bool:
    """Whether a weight of a wrapped model belongs to virtual tokens.

    Reaches: the attribute ``prompt_encoder`` of `PeftModel`.
    Why: virtual tokens do not belong to a module of the base model.
    Since: PEFT 0.18.
    Remove when: PEFT has a public function for this.
    """
    return name.startswith("prompt_encoder.")


def is_replaced(name: str) -> bool:
    """Whether a weight belongs to the original of a module that is trained in full with the adapter.

    Reaches: the attribute ``original_module`` of `ModulesToSaveWrapper`.
    Why: PEFT keeps the original and its trained copy, and uses only the copy.
    Since: PEFT 0.18.
    Remove when: PEFT has a public function for this.
    """
    return ".original_module." in name


def freeze_rank_counters(model: Any) -> None:
    """Freeze the counters of AdaLoRA's ranks.

    Reaches: the parameters called ``ranknum``.
    Why: PEFT does not save the counters, and moving them to a device makes them trainable.
    Since: PEFT 0.18.
    Remove when: the counters are buffers.
    """
    for name, weight in model.named_parameters():
        if ".ranknum." in name:
            weight.requires_grad_(False)


def adalora_settings(model: Any) -> Any:
    """The settings of a model's active AdaLoRA adapter; None for any other model."""
    adapters = getattr(model, "peft_config", None) or {}
    settings = adapters.get(getattr(model, "active_adapter", None))
    return settings if settings is not None and settings.peft_type == "ADALORA" else None


def save_ranks(model: Any, folder: Path) -> None:
    """Write AdaLoRA's weights at full rank, the pattern of the ranks in use, and the ranks' running importance.

    Reaches: ``base_model.rankallocator`` with ``ipt``, ``exp_avg_ipt``, ``exp_avg_unc`` and
    ``mask_using_rank_pattern``, and ``rank_pattern`` of the adapter's settings, as the functions below do.
    Why: PEFT saves an AdaLoRA adapter without its unused ranks and without the running importance. A training that
    resumes from PEFT's files would give other weights.
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
    """Set unused ranks to zero, as PEFT does when it saves; between two allocations they can hold other values."""
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
    """The key of a weight in the pattern; after its first save, PEFT omits the adapter's name in keys."""
    short = name.replace(".default", "")
    return next((key for key in (name, short) if key in pattern), None)


def _adalora_weights(model: Any) -> list[tuple[str, torch.nn.Parameter]]:
    """AdaLoRA's weights, with the names that its allocator uses."""
    named = model.base_model.model.named_parameters()
    return [(name, weight) for name, weight in named if "lora_" in name]
