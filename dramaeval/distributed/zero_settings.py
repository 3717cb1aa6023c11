"""Checks of ``zero``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.fields import all_settings, settings_of
from dramaeval.config.library_schema import ZeroConfig
from dramaeval.config.problems import hint_or_names
from dramaeval.config.schema import Device, Stage
from dramaeval.config.source_arguments import arguments_in_source

#: DeepSpeed's settings that the run sets, each with the setting to use instead.
FILLED = {
    "train_batch_size": "batch.global",
    "train_micro_batch_size_per_gpu": "batch.per_device",
    "gradient_accumulation_steps": "trainer.args.gradient_accumulation_steps or batch.global",
    "gradient_clipping": "trainer.args.max_grad_norm",
    "bf16": "model.dtype",
    "fp16": "model.dtype",
    "optimizer": "trainer.args.optim",
    "scheduler": "trainer.args.lr_scheduler_type",
    "steps_per_print": "trainer.args.logging_steps",
    "zero_allow_untested_optimizer": "trainer.args.optim",
    "tensorboard": "logger=tensorboard",
    "wandb": "logger=wandb",
}
#: DeepSpeed's settings that the user may give. DeepSpeed ignores unknown settings and has no list of valid ones.
AT_TOP = tuple(settings_of(ZeroConfig))
#: DeepSpeed's classes by node; the keys of the node are the arguments of the class.
_CLASSES = {
    "zero_optimization": "deepspeed.runtime.zero.config.DeepSpeedZeroConfig",
    "zero_optimization.offload_param": "deepspeed.runtime.zero.offload_config.DeepSpeedZeroOffloadParamConfig",
    "zero_optimization.offload_optimizer": (
        "deepspeed.runtime.zero.offload_config.DeepSpeedZeroOffloadOptimizerConfig"
    ),
}


def problems(config: DictConfig) -> list[str]:
    """Problems of ``zero``."""
    import torch

    zero, device = config.zero, config.plan_device
    if zero is None:
        return []
    gpu = torch.cuda.is_available() if device is None else device == "cuda"
    if Stage.train not in config.stages:
        return [
            "zero=… distributes the memory of training, but stages has no train: set zero=none. Evaluation is "
            "distributed over processes=N without it."
        ]
    settings = zero.get("zero_optimization")
    if not OmegaConf.is_dict(settings) or "stage" not in settings:
        return ["zero.zero_optimization.stage has no value: choose zero=zero1, zero2 or zero3."]
    messages = [
        f"zero.{key}=auto: give a value; none is chosen automatically." for key in _auto_keys(zero)
    ]
    messages += unknown_settings(zero)
    if config.device is Device.cpu and gpu:
        messages.append(
            "zero=… uses a GPU if there is one: set CUDA_VISIBLE_DEVICES= (empty) to train on the CPU, or "
            "device=auto."
        )
    return messages if gpu or config.plan else messages + _cpu_problems(config, settings)


def _cpu_problems(config: DictConfig, settings: Any) -> list[str]:
    messages = [
        f"zero.zero_optimization.{name} moves memory from a GPU to the host, and there is no GPU here: "
        f"choose zero=zero{settings.stage}."
        for name in ("offload_optimizer", "offload_param")
        if (settings.get(name) or {}).get("device", "none") != "none"
    ]
    if config.model.dtype not in ("auto", "float32"):
        messages.append(
            f"model.dtype={config.model.dtype} with zero=… needs a GPU: use model.dtype=float32 here."
        )
    return messages


def _auto_keys(node: Mapping[Any, Any], where: str = "") -> list[str]:
    """The keys with the value "auto" that the schema does not declare."""
    keys, declared = [], {setting.key for setting in all_settings(ZeroConfig)}
    for name, value in node.items():
        key = f"{where}.{name}" if where else str(name)
        if isinstance(value, Mapping):
            keys += _auto_keys(value, key)
        elif value == "auto" and key not in declared:
            keys.append(key)
    return keys


def unknown_settings(zero: DictConfig) -> list[str]:
    """Problems of keys that DeepSpeed does not have or that the run sets; DeepSpeed is not imported."""
    keys = list(map(str, zero))
    messages = [
        f"zero.{key} is set by the run: use {FILLED[key]}." for key in keys if key in FILLED
    ]
    messages += [
        f"zero.{key} is not a setting of DeepSpeed that can be given here.{hint_or_names(key, AT_TOP)}"
        for key in keys
        if key not in FILLED and key not in AT_TOP
    ]
    for where, target in _CLASSES.items():
        node = OmegaConf.select(zero, where)
        known = arguments_in_source(target) if OmegaConf.is_dict(node) else None
        if known is not None:
            messages += [
                f"zero.{where}.{name} is not a setting of DeepSpeed.{hint_or_names(str(name), known)}"
                for name in node
                if name not in known
            ]
    return messages
