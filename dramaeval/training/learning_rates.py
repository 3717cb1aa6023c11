"""Learning rates of parts of the model, for example a smaller rate for a trained audio tower than for a new projector."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from dramaeval.models.adapters import part_of
from dramaeval.models.families.base import Family

log = logging.getLogger(__name__)


def divide_groups(
    optimizer: torch.optim.Optimizer, model: Any, family: Family, rates: Mapping[str, float | None]
) -> None:
    """Divide the parameter groups of a new optimizer so that each part has its own learning rate.

    Args:
        optimizer: a new optimizer, before its first step and without a scheduler.
        model: the judge, or PEFT's wrapper around it.
        family: names the parts of the model.
        rates: the learning rates by part; None keeps the rate of the optimizer.
    """
    changed = {part: rate for part, rate in rates.items() if rate is not None}
    if not changed:
        return
    parts = {weight: part_of(name, family) for name, weight in model.named_parameters()}
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        by_rate: dict[float, list[torch.nn.Parameter]] = defaultdict(list)
        for weight in group["params"]:
            by_rate[changed.get(parts[weight], group["lr"])].append(weight)
        for rate, weights in by_rate.items():
            optimizer.add_param_group({**group, "params": weights, "lr": rate})
    listed = ", ".join(f"{part} {rate:g}" for part, rate in changed.items())
    log.info("Largest learning rates of parts: %s.", listed)


def untrained_parts(
    rates: Mapping[str, float | None], by_part: Mapping[str, tuple[int, int]]
) -> list[str]:
    """Problems of learning rates for parts that are not trained.

    Args:
        rates: the learning rates by part; None is ignored.
        by_part: numbers of trained parameters and of all parameters of each part.
    """
    return [
        f"trainer.learning_rates.{part}={rate}, but no weight of this part is trained: train it "
        "(model.freeze_audio, model.train_projector, model.freeze_llm, adapt), or leave the rate out."
        for part, rate in rates.items()
        if rate is not None and not by_part.get(part, (0, 0))[0]
    ]
