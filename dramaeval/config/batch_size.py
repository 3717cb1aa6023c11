"""The size of an optimizer step in clips.

    global = per device × accumulation × processes

Either ``batch.global`` is given and determines the accumulation for any number of processes, or ``trainer.args``
gives both factors and they determine the global batch.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass

from omegaconf import DictConfig

from dramaeval.config.keys import is_a

#: Clips per forward pass and process if neither batch.per_device nor trainer.args gives a number.
DEFAULT_PER_DEVICE = 4

PER_DEVICE = "per_device_train_batch_size"
ACCUMULATION = "gradient_accumulation_steps"


class BatchError(ValueError):
    """Batch sizes contradict each other or do not divide; the message names the nearest valid sizes."""


@dataclass(frozen=True)
class StepSize:
    """Clips of one optimizer step: ``per_device`` × ``accumulation`` × ``processes``."""

    per_device: int
    accumulation: int
    processes: int

    @property
    def clips(self) -> int:
        """The clips of all processes."""
        return self.per_device * self.accumulation * self.processes


def problems(config: DictConfig) -> list[str]:
    """Problems of the batch size, except values below 1, which the schema reports."""
    sizes = (config.processes, config.batch["global"], config.batch.per_device)
    if any(size is not None and size < 1 for size in sizes):
        return []
    try:
        step_size(config, config.processes)
    except BatchError as error:
        return [str(error)]
    return []


def step_size(config: DictConfig, processes: int) -> StepSize:
    """The factors of an optimizer step for a number of processes.

    With ``batch.max_tokens`` the number of clips per forward pass varies; ``per_device`` is then 1.

    Raises:
        BatchError: the sizes contradict each other or do not divide.
    """
    args, batch = config.trainer.args, config.batch
    total, per_device, accumulation = batch["global"], args.get(PER_DEVICE), args.get(ACCUMULATION)
    for key, value in ((PER_DEVICE, per_device), (ACCUMULATION, accumulation)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise BatchError(f"trainer.args.{key}={value} must be a whole number of 1 or more.")
    if None not in (batch.per_device, per_device) and batch.per_device != per_device:
        raise BatchError(
            f"batch.per_device={batch.per_device} contradicts trainer.args.{PER_DEVICE}={per_device}: give one "
            "of them."
        )
    if batch.max_tokens is not None:
        _check_token_budget(config)
        return StepSize(1, accumulation or 1, processes)
    per_device = batch.per_device or per_device
    if total is None:
        return StepSize(per_device or DEFAULT_PER_DEVICE, accumulation or 1, processes)
    step = _divide(total, per_device, processes)
    if accumulation not in (None, step.accumulation):
        raise BatchError(
            f"batch.global={total} with {step.per_device} clips a process and {_counted(processes)} needs "
            f"{step.accumulation} accumulated batches, but trainer.args.{ACCUMULATION}={accumulation}: leave "
            "it at null, or leave batch.global at null."
        )
    return step


def _check_token_budget(config: DictConfig) -> None:
    """Raise if another setting contradicts ``batch.max_tokens``, which determines the clips per forward pass."""
    args = config.trainer.args
    counts = {
        "batch.global": config.batch["global"],
        "batch.per_device": config.batch.per_device,
        f"trainer.args.{PER_DEVICE}": args.get(PER_DEVICE),
    }
    for key, value in counts.items():
        if value is not None:
            raise BatchError(
                f"{key}={value} sets the number of clips of a batch, and batch.max_tokens makes it depend on "
                f"their lengths: give one of them. trainer.args.{ACCUMULATION}=N sets N "
                "such batches per step and process."
            )
    if obstacle := token_budget_obstacle(config):
        raise BatchError(obstacle)


def token_budget_obstacle(config: DictConfig) -> str:
    """Why ``batch.max_tokens`` is impossible whatever the number of clips; empty if it is possible."""
    reasons = {
        "zero": config.zero is not None and "DeepSpeed needs a fixed number of clips",
        "task.tasks": bool(config.task.get("tasks"))
        and "each epoch of a mixture has other records and therefore another number of batches",
        "trainer": not is_a(config.trainer, "JudgeSFTTrainer")
        and "only trainer=sft batches clips by length",
    }
    for key, reason in reasons.items():
        if reason:
            return f"batch.max_tokens does not work with this {key}: {reason}. Leave it out."
    steps = (config.trainer.args.get("max_steps") or 0) > 0 or (config.peft or {}).get("total_step")
    if is_a(config.peft, "AdaLoraConfig") and not steps:
        return (
            "batch.max_tokens makes the number of steps depend on the clips' lengths, but peft=adalora needs "
            "it in advance: set trainer.args.max_steps."
        )
    return ""


def _divide(total: int, per_device: int | None, processes: int) -> StepSize:
    """The factors of a global batch; ``per_device=None``: the largest divisor up to the default."""
    if total % processes:
        raise BatchError(
            f"batch.global={total} does not divide among {_counted(processes)}. Nearest that do: "
            f"batch.global={_or(_multiples(total, processes))}, or "
            f"processes={_or(_divisors_near(total, processes))}."
        )
    share = total // processes
    if per_device is None:
        per_device = max(size for size in _divisors(share) if size <= DEFAULT_PER_DEVICE)
    elif share % per_device:
        raise BatchError(
            f"batch.global={total} among {_counted(processes)} leaves {share} clips each, which batches of "
            f"{per_device} do not fill evenly. Nearest that work: "
            f"batch.per_device={_or(_divisors_near(share, per_device))}, or "
            f"batch.global={_or(_multiples(total, per_device * processes))}."
        )
    return StepSize(per_device, share // per_device, processes)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _divisors_near(number: int, target: int) -> list[int]:
    """The largest divisor up to ``target``, and the smallest divisor above it."""
    divisors = _divisors(number)
    above = bisect(divisors, target)
    return divisors[above - 1 : above + 1]


def _multiples(target: int, factor: int) -> list[int]:
    below = target // factor * factor
    return [multiple for multiple in (below, below + factor) if multiple]


def _counted(processes: int) -> str:
    return "1 process" if processes == 1 else f"{processes} processes"


def _or(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, numbers))
