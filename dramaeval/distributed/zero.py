"""DeepSpeed ZeRO: completes its configuration from the trainer's arguments, and checks the engine that runs.

If a setting of DeepSpeed is missing, transformers starts plain data parallelism without a message. It replaces "auto"
with a value that may be wrong at that time. Therefore every value is set here, and the engine is compared with the
configuration before the first step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from dramaeval.config.batch_size import StepSize
from dramaeval.errors import UserFacingError


class EngineMismatchError(UserFacingError, RuntimeError):
    """The training engine differs from the configuration; the message lists every difference."""


def fill_zero_config(
    zero: Mapping[str, Any], args: Mapping[str, Any], step: StepSize
) -> dict[str, Any]:
    """DeepSpeed's configuration for a training.

    Args:
        zero: the settings of ``zero``.
        args: the trainer's arguments by name; arguments that have their default may be absent.
        step: the size of an optimizer step.
    """
    config = {
        **zero,
        "train_micro_batch_size_per_gpu": step.per_device,
        "gradient_accumulation_steps": step.accumulation,
        "gradient_clipping": float(args.get("max_grad_norm", 1.0)),
        "bf16": {"enabled": bool(args.get("bf16"))},
        "fp16": {"enabled": bool(args.get("fp16"))},
        # transformers creates the optimizer, which trainer.args.optim names.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
    }
    # DeepSpeed computes this product; transformers would compare it with the product for one process.
    config.pop("train_batch_size", None)
    return config


def offloads(zero: Mapping[str, Any] | None) -> tuple[bool, bool]:
    """Whether the optimizer's states are in host memory, and whether the weights are."""
    settings = (zero or {}).get("zero_optimization", {})
    optimizer, weights = (
        (settings.get(name) or {}).get("device", "none") != "none"
        for name in ("offload_optimizer", "offload_param")
    )
    return optimizer, weights


def zero_stage(zero: Mapping[str, Any] | None) -> int:
    """The configured ZeRO stage; 0 without ZeRO."""
    settings = (zero or {}).get("zero_optimization")
    stage = settings.get("stage") if isinstance(settings, Mapping) else 0
    return stage if isinstance(stage, int) else 0


class ZeroEngineCheck(TrainerCallback):
    """Stops a training whose engine differs from the configuration.

    Args:
        zero: the settings of ``zero``; None without ZeRO.
        step: the size of an optimizer step.
    """

    def __init__(self, trainer: Any, zero: Mapping[str, Any] | None, step: StepSize) -> None:
        self.trainer = trainer
        self.zero = zero
        self.step = step

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check the wrapped model before its first batch.

        Raises:
            EngineMismatchError: lists every difference.
        """
        differences = engine_differences(self.trainer.model_wrapped, self.zero, self.step)
        if args.world_size != self.step.processes:
            differences.append(
                f"processes: configured {self.step.processes}, but the trainer counts {args.world_size}"
            )
        if differences:
            raise EngineMismatchError(
                "The training that started differs from the configured one: "
                + "; ".join(differences)
                + ". Nothing was trained."
            )


def engine_differences(engine: Any, zero: Mapping[str, Any] | None, step: StepSize) -> list[str]:
    """The differences between a wrapped model and the configuration."""
    kind = type(engine).__name__
    if not zero:
        wrapper = "DistributedDataParallel" if step.processes > 1 else None
        if wrapper and kind != wrapper:
            return [f"processes={step.processes} needs {wrapper}, but the model runs as {kind}"]
        return [] if wrapper or kind != "DeepSpeedEngine" else ["zero=none, but DeepSpeed runs"]
    if kind != "DeepSpeedEngine":
        return [f"zero needs DeepSpeed, but the model runs as {kind}"]
    optimizer, weights = offloads(zero)
    pairs = {
        "ZeRO stage": (zero_stage(zero), int(engine.zero_optimization_stage())),
        "processes": (step.processes, engine.dp_world_size),
        "clips a process": (step.per_device, engine.train_micro_batch_size_per_gpu()),
        "accumulated batches": (step.accumulation, engine.gradient_accumulation_steps()),
        "clips a step": (step.clips, engine.train_batch_size()),
        "optimizer in host memory": (optimizer, bool(engine.zero_cpu_offload())),
        "weights in host memory": (weights, engine.zero_offload_param() is not None),
    }
    return [
        f"{name}: configured {configured}, runs with {actual}"
        for name, (configured, actual) in pairs.items()
        if configured != actual
    ]
