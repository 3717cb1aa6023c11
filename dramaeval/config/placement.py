"""Checks of where and in which precision a model runs, against what this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.schema import Device, Stage
from dramaeval.distributed.processes import launched_processes

#: What transformers' ``device_map`` may be in one word, besides a device.
MAPS = ("auto", "balanced", "balanced_low_0", "sequential", "cpu", "cuda")


def placement_problems(config: DictConfig) -> list[str]:
    """What model.dtype, .attention, .device_map and .offload_folder ask for and cannot have here."""
    import torch

    gpu = torch.cuda.is_available() and config.device is not Device.cpu
    trains = Stage.train in config.stages
    problems = _dtype_problems(config, gpu, trains)
    problems += _flash_problems(config, gpu, trains)
    return problems + _map_problems(config, gpu, trains)


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
    if dtype == "bfloat16" and gpu and not torch.cuda.is_bf16_supported():
        return ["model.dtype=bfloat16, but this GPU has none: use model.dtype=float16 or float32."]
    return []


def _flash_problems(config: DictConfig, gpu: bool, trains: bool) -> list[str]:
    model = config.model
    if model.attention != "flash_attention_2":
        return []
    problems = []
    if not gpu:
        problems.append(
            "model.attention=flash_attention_2 needs a GPU, and there is none here (or device=cpu): use "
            "model.attention=sdpa."
        )
    if find_spec("flash_attn") is None:
        problems.append(
            "model.attention=flash_attention_2 needs the package flash-attn, which is not installed: "
            "pip install flash-attn, or use model.attention=sdpa."
        )
    if model.dtype == "float32" or (model.dtype == "auto" and trains and not config.peft):
        problems.append(
            "model.attention=flash_attention_2 computes in 16 bits, but the weights are float32 (full "
            "fine-tuning keeps them so unless told otherwise): use model.dtype=bfloat16, or "
            "model.attention=sdpa."
        )
    return problems


def _map_problems(config: DictConfig, gpu: bool, trains: bool) -> list[str]:
    placed, folder = config.model.get("device_map"), config.model.get("offload_folder")
    if placed is None:
        if folder is None:
            return []
        return [f"model.offload_folder={folder} is only used with model.device_map: set that too."]
    problems = []
    if trains:
        problems.append(
            "model.device_map spreads a model that only evaluates, and stages has train: train with zero=zero3 "
            "over several processes, or leave model.device_map out."
        )
    processes = max(launched_processes(), int(OmegaConf.select(config, "processes") or 1))
    if processes > 1:
        problems.append(
            f"model.device_map spreads one model over all devices, but {processes} processes would each do so: "
            "run one process, or leave model.device_map out."
        )
    devices = _devices(placed)
    known = isinstance(placed, Mapping | DictConfig) or placed in MAPS or _is_device(placed)
    if not known:
        problems.append(
            f"model.device_map={placed} is not known; choose one of {', '.join(MAPS)}, a device like "
            "cuda:0, or {module: device}."
        )
    if not gpu and any(one.startswith("cuda") or one.isdigit() for one in devices):
        problems.append(
            f"model.device_map={placed} names a GPU, and there is none here (or device=cpu): use cpu."
        )
    if "disk" in devices and folder is None:
        problems.append(
            "model.device_map leaves weights on disk: say where with model.offload_folder=FOLDER."
        )
    return problems


def _devices(placed: Any) -> list[str]:
    values = placed.values() if isinstance(placed, Mapping | DictConfig) else [placed]
    return [str(value) for value in values]


def _is_device(placed: Any) -> bool:
    return str(placed).isdigit() or str(placed).removeprefix("cuda:").isdigit()
