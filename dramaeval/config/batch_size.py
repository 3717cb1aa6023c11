"""Batch arithmetic: how many clips a process takes at once, and how often, for an optimizer step.

    global = per device × accumulation × processes

Either ``batch.global`` is given and the accumulation follows from it, for any number of processes, or
``trainer.args`` says both factors and the global batch follows from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

#: Clips a forward pass and process where neither batch.per_device nor trainer.args says a number.
DEFAULT_PER_DEVICE = 4

PER_DEVICE = "per_device_train_batch_size"
ACCUMULATION = "gradient_accumulation_steps"


class BatchError(ValueError):
    """The numbers contradict each other or do not divide; the message names the nearest that work."""


@dataclass(frozen=True)
class StepSize:
    """Clips of one optimizer step: ``per_device`` × ``accumulation`` × ``processes``."""

    per_device: int
    accumulation: int
    processes: int

    @property
    def clips(self) -> int:
        """All of them."""
        return self.per_device * self.accumulation * self.processes


def step_size(config: DictConfig, processes: int) -> StepSize:
    """Work out the factors of a step for so many processes.

    With ``batch.max_tokens`` the clips of a pass are as many as fit, and the factor for them is a mere 1.

    Raises:
        BatchError: see there.
    """
    args, batch = config.trainer.args, config.batch
    whole, per_device = batch["global"], batch.per_device
    told, accumulation = args.get(PER_DEVICE), args.get(ACCUMULATION)
    for key, value in (
        ("batch.global", whole),
        ("batch.per_device", per_device),
        (f"trainer.args.{PER_DEVICE}", told),
        (f"trainer.args.{ACCUMULATION}", accumulation),
        ("processes", processes),
    ):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise BatchError(f"{key}={value} must be a whole number of 1 or more.")
    if None not in (per_device, told) and per_device != told:
        raise BatchError(
            f"batch.per_device={per_device} contradicts trainer.args.{PER_DEVICE}={told}: give one of them."
        )
    if batch.max_tokens is not None:
        _refuse_beside_budget(config)
        return StepSize(1, accumulation or 1, processes)
    asked = per_device or told
    if whole is None:
        return StepSize(asked or DEFAULT_PER_DEVICE, accumulation or 1, processes)
    size = _divided(whole, asked, processes)
    if accumulation is not None and accumulation != size.accumulation:
        raise BatchError(
            f"batch.global={whole} with {size.per_device} clips a process and {_counted(processes)} needs "
            f"{size.accumulation} accumulated batches, but trainer.args.{ACCUMULATION}={accumulation}: leave "
            "it at null, or leave batch.global at null."
        )
    return size


def _refuse_beside_budget(config: DictConfig) -> None:
    """A budget of tokens says by itself how many clips a pass takes."""
    told = {
        "batch.global": config.batch["global"],
        "batch.per_device": config.batch.per_device,
        f"trainer.args.{PER_DEVICE}": config.trainer.args.get(PER_DEVICE),
    }
    for key, value in told.items():
        if value is not None:
            raise BatchError(
                f"{key}={value} says how many clips a batch has, and batch.max_tokens lets their lengths say "
                f"it: give one of them. trainer.args.{ACCUMULATION}=N makes steps of N "
                "such batches a process."
            )
    reasons = {
        "zero": config.zero is not None
        and "DeepSpeed is told a number of clips that never changes",
        "task.tasks": bool(config.task.get("tasks"))
        and "an epoch of a mixture holds other records each time, which fill another number of batches",
        "trainer": not str(config.trainer.get("_target_")).endswith(".JudgeSFTTrainer")
        and "only trainer=sft makes batches by length",
    }
    for key, reason in reasons.items():
        if reason:
            raise BatchError(
                f"batch.max_tokens does not go with this {key}: {reason}. Leave it out."
            )
    adalora = str((config.peft or {}).get("_target_")).endswith("AdaLoraConfig")
    steps = (config.trainer.args.get("max_steps") or 0) > 0 or (config.peft or {}).get("total_step")
    if adalora and not steps:
        raise BatchError(
            "batch.max_tokens makes as many steps as the clips' lengths ask for, and peft=adalora has to know "
            "their number beforehand: set trainer.args.max_steps."
        )


def _divided(whole: int, per_device: int | None, processes: int) -> StepSize:
    """Split a global batch; without a wish the largest share up to the default is taken."""
    if whole % processes:
        raise BatchError(
            f"batch.global={whole} does not divide among {_counted(processes)}. Nearest that do: "
            f"batch.global={_or(_multiples(whole, processes))}, or "
            f"processes={_or(_divisors_near(whole, processes))}."
        )
    share = whole // processes
    if per_device is None:
        per_device = max(one for one in _divisors(share) if one <= DEFAULT_PER_DEVICE)
    elif share % per_device:
        raise BatchError(
            f"batch.global={whole} among {_counted(processes)} leaves {share} clips each, which batches of "
            f"{per_device} do not fill evenly. Nearest that work: "
            f"batch.per_device={_or(_divisors_near(share, per_device))}, or "
            f"batch.global={_or(_multiples(whole, per_device * processes))}."
        )
    return StepSize(per_device, share // per_device, processes)


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _divisors_near(number: int, wanted: int) -> list[int]:
    """The largest divisor up to what is wanted, and the smallest above it."""
    found = _divisors(number)
    below = [one for one in found if one <= wanted][-1:]
    return below + [one for one in found if one > wanted][:1]


def _multiples(wanted: int, factor: int) -> list[int]:
    below = wanted // factor * factor
    return [one for one in (below, below + factor) if one]


def _counted(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


def _or(numbers: Iterable[Any]) -> str:
    return " or ".join(str(number) for number in numbers)
