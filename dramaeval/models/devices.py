"""Which device a judge runs on, and what that rules out."""

from __future__ import annotations

import os
from typing import Any

import torch

from dramaeval.models.errors import ModelError


def input_device(model: Any) -> torch.device:
    """Where a batch goes: the first device that holds weights (offloaded ones have none)."""
    devices = (weight.device for weight in model.parameters())
    return next((one for one in devices if one.type != "meta"), torch.device("cpu"))


def check_adapter_fits(model: Any) -> None:
    """Adapters go onto models whose weights are all on devices; PEFT cannot follow weights that come and go.

    Raises:
        ModelError: the device map leaves some in memory or on disk.
    """
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    if len(places) > 1 and places & {"cpu", "disk"}:
        raise ModelError(
            "model.device_map leaves a part of the model in memory or on disk, where PEFT cannot put an "
            "adapter. Merge the adapter into its model first, use more or larger GPUs, or device=cpu without "
            "a device map."
        )


def choose_device(asked: str) -> torch.device:
    """The device to run on; auto takes the GPU of this process if there is one.

    Raises:
        ModelError: a GPU is asked for and there is none.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "device=cuda, but PyTorch sees no GPU here (CUDA_VISIBLE_DEVICES="
            f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Use device=auto or device=cpu."
        )
    if asked == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
