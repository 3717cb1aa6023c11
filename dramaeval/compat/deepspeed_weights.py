"""Private parts of DeepSpeed that models rely on."""

from __future__ import annotations

from torch import nn


def is_partitioned(model: nn.Module) -> bool:
    """Whether ZeRO-3 has split the weights, so that all processes take part in every forward pass.

    Reaches: the attribute ``ds_id`` of a parameter.
    Why: a split parameter is empty between passes, and no public attribute distinguishes it.
    Since: DeepSpeed 0.17.
    Remove when: DeepSpeed has a function for it.
    """
    return any(hasattr(weight, "ds_id") for weight in model.parameters())
