"""Adapters: PEFT's methods, limited to the parts of the model that ``adapt`` names.

Layers of the audio tower and of the language model have the same names, so that a list of endings would adapt both
parts. Endings are therefore converted to one pattern for full module names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError
from torch import nn

from dramaeval.compat.bitsandbytes import weight_count
from dramaeval.compat.peft import (
    base_name,
    expand_pattern,
    freeze_rank_counters,
    is_replaced,
    is_virtual_token,
    set_task_type,
)
from dramaeval.compat.transformers import file_if_exists
from dramaeval.models.errors import ModelError
from dramaeval.models.failures import first_line
from dramaeval.models.families.base import NEEDS_HEAD, Family
from dramaeval.models.forward.judge_model import SCORE_HEAD
from dramaeval.models.loading import UNSAFE_PICKLE, ModelFiles

log = logging.getLogger(__name__)

#: The value of ``target_modules`` with which PEFT adapts every linear layer of a model.
ALL_LINEAR = "all-linear"
#: The layers that (IA)³ scales by default: keys and values at the output, the last feed-forward layer at the input.
IA3_OUTPUTS = ("k_proj", "v_proj")
IA3_INPUTS = ("down_proj", "fc2")


def adapted_parts(adapt: str | Sequence[str], family: Family) -> list[str]:
    """The parts that ``adapt`` names, in the order of the family.

    Raises:
        ValueError: the family has no part of this name.
    """
    names = [adapt] if isinstance(adapt, str) else list(adapt)
    if "all" in names:
        return list(family.parts)
    unknown = [name for name in names if name not in family.parts]
    if unknown or not names:
        reasons = [f" {family.absent[name]}" for name in unknown if name in family.absent]
        raise ValueError(
            f"adapt={','.join(names) or '[]'}: {', '.join(unknown) or 'nothing'} is not a part of this model. "
            f"Choose from {', '.join(family.parts)}, all, or a list of them.{''.join(reasons)}"
        )
    return [part for part in family.parts if part in names]


def restrict(config: Any, family: Family, adapt: str | Sequence[str]) -> Any:
    """Limit a PEFT configuration to the adapted parts; the configuration is changed and returned.

    A text as ``target_modules`` is a pattern for full names, which is limited to the adapted parts; ``all-linear``
    means the projections of these parts. ``layers_to_transform`` becomes part of the pattern, because PEFT ignores it if
    ``target_modules`` is a pattern.
    """
    set_task_type(config)
    parts = adapted_parts(adapt, family)
    if not hasattr(config, "target_modules"):
        return config
    if str(config.target_modules).lower() == ALL_LINEAR:
        config.target_modules = None
    if isinstance(config.target_modules, str):
        roots = "|".join(re.escape(family.parts[part]) for part in parts)
        config.target_modules = rf"(?=(?:{roots})\.)(?:{config.target_modules})"
        if config.peft_type == "IA3":
            config.feedforward_modules = config.feedforward_modules or set()
        return config
    given = sorted(config.target_modules or ())
    if config.peft_type == "IA3":
        _restrict_ia3(config, family, parts, given)
        return config
    endings = {part: given or family.projections[part] for part in parts}
    config.target_modules = _pattern(family, endings, _layers(config))
    return config


def _pattern(family: Family, endings: Mapping[str, Sequence[str]], layers: str = "") -> str:
    """A regular expression for full module names, as a value of PEFT's ``target_modules``.

    Args:
        family: the family of the model.
        endings: for each part that gets adapters the names of its layers.
        layers: an expression for the beginning of the path within a part, up to the dot after a layer's number.
    """
    patterns = [
        rf"{re.escape(family.parts[part])}\.{layers}(?:.*\.)?(?:{'|'.join(map(re.escape, names))})"
        for part, names in endings.items()
    ]
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"


def _layers(config: Any) -> str:
    """Convert ``layers_to_transform`` and ``layers_pattern`` to an expression; remove both from the configuration."""
    indices = getattr(config, "layers_to_transform", None)
    if indices is None or indices == []:
        return ""
    numbers = "|".join(map(str, [indices] if isinstance(indices, int) else indices))
    names = config.layers_pattern or []
    lists = "|".join([names] if isinstance(names, str) else names)
    config.layers_to_transform = config.layers_pattern = None
    # As in PEFT, the first number in a name is the number of the layer.
    before = r"(?:(?!\d+\.)[^.]+\.)*" + (rf"(?:{lists})\." if lists else "")
    return rf"{before}(?:{numbers})\."


def _restrict_ia3(config: Any, family: Family, parts: Sequence[str], given: Sequence[str]) -> None:
    """Limit (IA)³ to the given layers, or those that it scales by default; in a part without such layers, to all."""
    scaled: dict[str, Sequence[str]] = {}
    for part in parts:
        usual = [name for name in family.projections[part] if name in IA3_OUTPUTS + IA3_INPUTS]
        scaled[part] = given or usual or family.projections[part]
    config.target_modules = _pattern(family, scaled)
    if not isinstance(config.feedforward_modules, str):
        feedforward = set(config.feedforward_modules or IA3_INPUTS)
        inputs = {part: [n for n in names if n in feedforward] for part, names in scaled.items()}
        inputs = {part: names for part, names in inputs.items() if names}
        config.feedforward_modules = _pattern(family, inputs) if inputs else set()


def attach(model: Any, config: Any) -> Any:
    """Wrap a model with a new adapter.

    Raises:
        ModelError: PEFT cannot attach the adapter; the message has PEFT's reason.
    """
    from peft import get_peft_model

    try:
        if config.is_prompt_learning:
            from dramaeval.models.forward.virtual_tokens import VirtualTokens

            config.base_model_name_or_path = model.name_or_path or None
            return VirtualTokens(model, config)
        expand_pattern(config, model)
        # On a model without weights, initial values cannot be computed.
        empty = next(model.parameters()).is_meta
        wrapped = get_peft_model(model, config, low_cpu_mem_usage=empty)
    # A wrong value can raise any of these inside PEFT.
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        raise ModelError(f"peft: the adapter cannot be attached: {error}") from error
    freeze_rank_counters(wrapped)
    return wrapped


def read_adapter(folder: Path) -> Any:
    """Read PEFT's configuration of a saved adapter, without values that import modules, read files or download.

    Raises:
        ModelError: the configuration names Megatron's layers, whose module PEFT would import.
    """
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(folder)
    if getattr(config, "megatron_config", None):
        raise ModelError(
            f"{folder / 'adapter_config.json'} sets megatron_config, which makes PEFT import "
            f"{config.megatron_core}: adapters on Megatron's layers are not supported. Set it to null."
        )
    config.auto_mapping = None
    if hasattr(config, "prompt_tuning_init"):
        # The saved weights replace the initial values, so that these need no text and no file.
        config.prompt_tuning_init = "RANDOM"
    return config


def load_adapter(model: Any, folder: Path, *, trainable: bool, own: bool = False) -> Any:
    """Wrap a model with a saved adapter.

    Args:
        model: the base, quantised as in the training of the adapter.
        folder: the folder with PEFT's files.
        trainable: whether the weights of the adapter are trained further.
        own: whether the adapter belongs to the checkpoint of the base, and therefore has no head of a judge.

    Raises:
        ModelError: the files are damaged, unsafe, or do not fit the base.
    """
    from peft import PeftModel

    config = read_adapter(folder)
    with_head = SCORE_HEAD in (getattr(config, "modules_to_save", None) or [])
    if with_head and not hasattr(model, SCORE_HEAD):
        raise ModelError(f"The adapter in {folder} {NEEDS_HEAD}")
    if hasattr(model, SCORE_HEAD) and not with_head and not own:
        raise ModelError(
            f"model.head=regression, but the adapter in {folder} was trained without such a head: there are no "
            "weights for it. Set model.head=vocabulary, or train from the base."
        )
    if "_niter_" in str(getattr(config, "init_lora_weights", "")):
        log.warning(
            "The adapter in %s was trained with init_lora_weights=%s, which changes the base by a random method: its "
            "scores differ from those after its training.",
            folder,
            config.init_lora_weights,
        )
    try:
        if config.is_prompt_learning:
            from dramaeval.models.forward.virtual_tokens import VirtualTokens

            config.inference_mode = not trainable
            wrapped = VirtualTokens(model, config)
            # `PeftModel.from_pretrained` refuses to train virtual tokens, since PEFT does not save the projection
            # that some of them have.
            wrapped.load_adapter(folder, "default", is_trainable=trainable)
            return wrapped
        wrapped = PeftModel.from_pretrained(model, folder, is_trainable=trainable, config=config)
    except SafetensorError as error:
        raise ModelError(
            f"The adapter in {folder} is damaged: {error}. Restore it from a copy."
        ) from None
    except UnpicklingError as error:
        raise ModelError(f"The adapter in {folder} {UNSAFE_PICKLE}") from error
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"The adapter in {folder} does not fit {model.name_or_path}: {first_line(error)}. "
            f"Give the model that it was trained on: model.path={config.base_model_name_or_path}."
        ) from error
    freeze_rank_counters(wrapped)
    return wrapped


def merge_own_adapter(model: Any, files: ModelFiles, subfolder: str = "") -> Any | None:
    """A model with its checkpoint's own adapter merged into the weights; None if that folder of the files has none.

    Raises:
        ModelError: the adapter does not fit.
    """
    folder = _adapter_folder(files, subfolder)
    if folder is None:
        return None
    wrapped = load_adapter(model, folder, trainable=False, own=True)
    unread = [n for n, w in wrapped.named_parameters() if ".lora_B." in n and not w.any()]
    if unread:
        raise ModelError(
            f"The adapter beside the model {files.source} has no weights for {len(unread)} of its layers "
            f"({unread[0]}, …): it was made for other names. Merge it in the version of transformers that made it."
        )
    merged = wrapped.merge_and_unload(safe_merge=True)
    for weight in merged.parameters():
        weight.requires_grad_(weight.is_floating_point())  # packed weights are not
    return merged


def _adapter_folder(files: ModelFiles, subfolder: str) -> Path | None:
    def find(source: str, **arguments: Any) -> Path | None:
        names = ("adapter_config.json", "adapter_model.safetensors")
        files = [file_if_exists(source, name, subfolder=subfolder, **arguments) for name in names]
        found = [Path(file) for file in files if file]
        return found[0].parent if len(found) == len(names) else None

    return files.read(find, accepts_code=False)


def linear_layers(module: nn.Module) -> tuple[str, ...]:
    """The names of the linear layers in a module, without their paths, in the order of their first occurrence."""
    from transformers.pytorch_utils import Conv1D

    layers = [n for n, layer in module.named_modules() if isinstance(layer, nn.Linear | Conv1D)]
    return tuple(dict.fromkeys(name.rpartition(".")[2] for name in layers))


def part_of(name: str, family: Family) -> str:
    """The part of the model that a parameter belongs to, or ``other``; the parameter may be a weight of an adapter."""
    if is_virtual_token(name):
        return "llm"
    path = f".{base_name(name)}"
    return next((part for part, root in family.parts.items() if f".{root}." in path), "other")


def count_parameters(model: Any, family: Family) -> Mapping[str, tuple[int, int]]:
    """Count the trainable parameters and all parameters of each part, and of the rest under ``other``.

    Adapter weights count in the part that contains them, virtual tokens in the language model. Packed 4-bit weights
    count singly. If a module is trained in full beside an adapter, PEFT keeps its original weights; they do not count.
    """
    counts = {part: [0, 0] for part in [*family.parts, "other"]}
    for name, weight in model.named_parameters():
        if is_replaced(name):
            continue
        part, size = part_of(name, family), weight_count(weight)
        counts[part][0] += size if weight.requires_grad else 0
        counts[part][1] += size
    return {part: (trained, total) for part, (trained, total) in counts.items()}
