"""Names of layers, for adapters."""

from __future__ import annotations

import torch


def linear_layers(module: torch.nn.Module) -> tuple[str, ...]:
    """The names of the linear layers in a module, without their paths, in the order of their first occurrence."""
    from transformers.pytorch_utils import Conv1D

    names = {
        name.rpartition(".")[2]: None
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Linear | Conv1D)
    }
    return tuple(names)
