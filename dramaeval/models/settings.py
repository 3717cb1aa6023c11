"""Checks ``model`` and ``device``: support by this machine, and combinations with other settings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.keys import check_arguments, resolve_target
from dramaeval.config.schema import Device, Stage
from dramaeval.distributed.processes import process_count

#: The values of ``device_map`` in transformers, besides names of devices.
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential", "cpu", "cuda")

#: Parts of a model, with the setting and its value that exclude the part from training.
PART_SETTINGS = (
    ("llm", "freeze_llm", True),
    ("audio", "freeze_audio", True),
    ("projector", "train_projector", False),
)


def problems(config: DictConfig) -> list[str]:
    """Problems of ``model`` and ``device``."""
    import torch

    model, trains = config.model, Stage.train in config.stages
    gpu = torch.cuda.is_available() and config.device is not Device.cpu
    if config.plan_device is not None:
        gpu = config.plan_device == "cuda"
    messages = check_arguments(model, "model") + _described_machine_problems(config)
    if not OmegaConf.is_missing(model, "path") and not model.path:
        messages.append("model.path is empty: give a folder or a name on the hub.")
    if model.attention in ("eager", "flash_attention_2") and config.batch.shared_prefix:
        messages.append(
            f"model.attention={model.attention} cannot share a prefix between questions: set "
            "batch.shared_prefix=false, or model.attention=sdpa."
        )
    messages += _dtype_problems(config, gpu, trains) + _flash_problems(config, gpu, trains)
    return messages + _device_map_problems(config, gpu, trains) + _part_problems(model)


def _described_machine_problems(config: DictConfig) -> list[str]:
    """Problems of the settings that describe another machine for a plan."""
    device, gpus = config.plan_device, config.plan_gpus
    keys = ("plan_device", "plan_gpus", "plan_memory_gib")
    settings = ", ".join(f"{key}={config[key]}" for key in keys if config[key] is not None)
    if not settings:
        return []
    if not config.plan:
        return [
            f"{settings}: a run uses the machine that it runs on; these describe another machine for "
            "plan=true or launch.check=true. Add one of them, or leave these out."
        ]
    if device is None:
        return [f"{settings}: give the device of that machine too: plan_device=cuda."]
    messages = []
    if config.device is not Device.auto and config.device.value != device:
        messages.append(
            f"plan_device={device}, but device={config.device.value}: leave one of them out."
        )
    if gpus is not None and device == "cpu":
        messages.append(f"plan_gpus={gpus} needs plan_device=cuda.")
    elif gpus is not None and config.processes not in (1, gpus):
        messages.append(
            f"plan_gpus={gpus}, but processes={config.processes}: each process has one GPU. Leave processes out."
        )
    return messages


def _dtype_problems(config: DictConfig, gpu: bool, trains: bool) -> list[str]:
    import torch

    dtype = config.model.dtype
    if dtype == "float16" and not gpu:
        return ["model.dtype=float16 is for GPUs: on a CPU use model.dtype=float32, or bfloat16."]
    if dtype == "float16" and trains and config.peft is None:
        return [
            "model.dtype=float16 cannot be trained in full: its gradients vanish or overflow. Use "
            "model.dtype=auto (float32 weights) or bfloat16, or an adapter (peft=lora)."
        ]
    here = config.plan_device is None
    if dtype == "bfloat16" and gpu and here and not torch.cuda.is_bf16_supported():
        return [
            "model.dtype=bfloat16 is not supported by this GPU: use model.dtype=float16 or float32."
        ]
    if trains and config.trainer.args.get("bf16"):
        if dtype == "float16":
            return [
                "trainer.args.bf16=true computes in bfloat16, and model.dtype=float16 in float16: leave one of them out."
            ]
        if gpu and here and not torch.cuda.is_bf16_supported():
            return ["trainer.args.bf16=true is not supported by this GPU: leave it out."]
    return []


def _flash_problems(config: DictConfig, gpu: bool, trains: bool) -> list[str]:
    model, messages = config.model, []
    if model.attention != "flash_attention_2":
        return []
    if not gpu:
        messages.append(
            "model.attention=flash_attention_2 needs a GPU, and there is none here (or device=cpu): use "
            "model.attention=sdpa."
        )
    if find_spec("flash_attn") is None:
        messages.append(
            "model.attention=flash_attention_2 needs the package flash-attn, which is not installed: "
            "pip install flash-attn, or use model.attention=sdpa."
        )
    if model.dtype == "float32" or (model.dtype == "auto" and trains and not config.peft):
        messages.append(
            "model.attention=flash_attention_2 computes in 16 bits, but the weights are float32 (the default of "
            "full fine-tuning): use model.dtype=bfloat16, or model.attention=sdpa."
        )
    return messages


def _device_map_problems(config: DictConfig, gpu: bool, trains: bool) -> list[str]:
    device_map, folder = config.model.device_map, config.model.offload_folder
    if device_map is None:
        if folder is None:
            return []
        return [f"model.offload_folder={folder} is only used with model.device_map: set that too."]
    messages = []
    if trains:
        messages.append(
            "model.device_map is for a model that is only evaluated, and stages has train: train with zero=zero3 "
            "over several processes, or leave model.device_map out."
        )
    if (count := process_count(config.processes)) > 1:
        messages.append(
            f"model.device_map spreads one model over all devices, but {count} processes would each do so: "
            "run one process, or leave model.device_map out."
        )
    maps = isinstance(device_map, Mapping)
    devices = [str(device) for device in (device_map.values() if maps else [device_map])]
    if not (maps or device_map in DEVICE_MAPS or devices[0].removeprefix("cuda:").isdigit()):
        messages.append(
            f"model.device_map={device_map} is not known; choose one of {', '.join(DEVICE_MAPS)}, a device like "
            "cuda:0, or {module: device}."
        )
    if not gpu and any(device.startswith("cuda") or device.isdigit() for device in devices):
        messages.append(
            f"model.device_map={device_map} names a GPU, and there is none here (or device=cpu): use cpu."
        )
    if "disk" in devices and folder is None:
        messages.append(
            "model.device_map leaves weights on disk: give their folder as model.offload_folder=FOLDER."
        )
    return messages


def _part_problems(model: Any) -> list[str]:
    """Problems of settings that exclude a part from training which the family's models do not have."""
    family = resolve_target(model.get("_target_") or "")
    parts = getattr(family, "parts", None)
    if not isinstance(parts, Mapping):  # known only after the model's configuration is read
        if getattr(family, "takes_audio", True):
            return []
        parts = ("llm",)
    absent = getattr(family, "absent", {})
    return [
        f"model.{key}={str(value).lower()}: this model has no separate {part} part; leave the setting out."
        + (f" {absent[part]}" if part in absent else "")
        for part, key, value in PART_SETTINGS
        if model.get(key) is value and part not in parts
    ]
