"""Chooses the device of a judge and of its inputs."""

from __future__ import annotations

import os
from typing import Any

import torch

from dramaeval.models.errors import ModelError


def input_device(model: Any) -> torch.device:
    """The device for batches: the device of the first weight that is not offloaded (meta)."""
    devices = (weight.device for weight in model.parameters())
    return next((device for device in devices if device.type != "meta"), torch.device("cpu"))


def check_adapter_fits(model: Any) -> None:
    """Check that all weights are on devices, where PEFT can put an adapter.

    Raises:
        ModelError: the device map offloads a part to memory or disk.
    """
    devices = set(map(str, getattr(model, "hf_device_map", {}).values()))
    if len(devices) > 1 and devices & {"cpu", "disk"}:
        raise ModelError(
            "model.device_map leaves a part of the model in memory or on disk, where PEFT cannot put an "
            "adapter. Merge the adapter into its model first, use more or larger GPUs, or device=cpu without "
            "a device map."
        )


def choose_device(setting: str) -> torch.device:
    """The device by the setting ``device``; auto is the GPU of this process if there is one.

    Raises:
        ModelError: a GPU is required and PyTorch finds none.
    """
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise ModelError(
            "device=cuda, but PyTorch sees no GPU here (CUDA_VISIBLE_DEVICES="
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Use device=auto or device=cpu. "
            "A plan for another machine: plan=true plan_device=cuda plan_gpus=8 plan_memory_gib=80."
        )
    if setting == "cpu" or not available:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
