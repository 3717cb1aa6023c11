"""DeepSpeed ZeRO: its configuration, filled from the trainer's arguments, and the check of the running engine.

transformers starts plain data parallelism without a message if it finds no DeepSpeed configuration, and fills
"auto" values from what is known at that time. Therefore no value is left at "auto", and the engine is compared
with the settings before the first step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from dramaeval.config.batch_size import StepSize
from dramaeval.errors import UserFacingError


class ZeroError(UserFacingError, ValueError):
    """The engine of a training differs from the settings; the message names each difference."""


def fill_zero_config(
    zero: Mapping[str, Any], args: Mapping[str, Any], step: StepSize
) -> dict[str, Any]:
    """DeepSpeed's configuration for a training.

    Args:
        zero: the ``zero`` group's settings.
        args: the trainer's arguments by name, without those left at their defaults.
        step: the clips of an optimizer step, by process and accumulated batch.
    """
    filled = {
        **zero,
        "train_micro_batch_size_per_gpu": step.per_device,
        "gradient_accumulation_steps": step.accumulation,
        "gradient_clipping": float(args.get("max_grad_norm", 1.0)),
        "bf16": {"enabled": bool(args.get("bf16"))},
        "fp16": {"enabled": bool(args.get("fp16"))},
        # transformers builds the optimizer that trainer.args.optim names.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
    }
    # DeepSpeed computes it for all processes; transformers would compare it with the clips of one process.
    filled.pop("train_batch_size", None)
    return filled


def disable_zero_compilation() -> None:
    """Make DeepSpeed use gloo on a CPU.

    Otherwise it compiles a library at its first start, which needs a C++ compiler and takes up to minutes.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def set_zero_process_group(args: Any) -> None:
    """Correct the number of processes and the ranks that accelerate assumes under DeepSpeed on a CPU.

    accelerate derives them from a GPU backend; without one every process would get rank 0, read the same clips
    and write the same files. All objects of accelerate share this state.

    Args:
        args: transformers' training arguments.
    """
    import torch.distributed

    state = args.distributed_state
    state.backend = torch.distributed.get_backend()
    state.num_processes = torch.distributed.get_world_size()
    state.process_index = torch.distributed.get_rank()
    state.local_process_index = int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def unpartitioned_weights() -> Iterator[None]:
    """Load models with complete weights inside the block, also if ZeRO-3 is configured.

    transformers would partition the weights while it loads them. The judge could then not be scored before the
    training, and the saved files would have wrong weight names.
    """
    from transformers.integrations import deepspeed as integration

    config = integration._hf_deepspeed_config_weak_ref
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        integration._hf_deepspeed_config_weak_ref = config


def offloads(zero: Mapping[str, Any] | None) -> tuple[bool, bool]:
    """Whether ZeRO keeps the optimizer states, and whether it keeps the weights, in host memory."""
    settings = (zero or {}).get("zero_optimization", {})
    optimizer, weights = (
        (settings.get(name) or {}).get("device", "none") != "none"
        for name in ("offload_optimizer", "offload_param")
    )
    return optimizer, weights


def zero_stage(zero: Mapping[str, Any] | None) -> int:
    """The configured ZeRO stage; 0 without ZeRO."""
    return int((zero or {}).get("zero_optimization", {}).get("stage", 0))


class ZeroEngineCheck(TrainerCallback):
    """Stops a training whose engine differs from the settings.

    Args:
        trainer: the trainer that wraps the model.
        zero: the ``zero`` group's settings; None without ZeRO.
        step: the clips of an optimizer step.
    """

    def __init__(self, trainer: Any, zero: Mapping[str, Any] | None, step: StepSize) -> None:
        self.trainer = trainer
        self.zero = zero
        self.step = step

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare the wrapped model with the settings before the first batch.

        Raises:
            ZeroError: it differs; the message lists all differences.
        """
        differences = engine_differences(self.trainer.model_wrapped, self.zero, self.step)
        if args.world_size != self.step.processes:
            differences.append(
                f"processes: asked {self.step.processes}, but the trainer counts {args.world_size}"
            )
        if differences:
            raise ZeroError(
                "The training that was started differs from the settings: "
                + "; ".join(differences)
                + ". Nothing was trained."
            )


def engine_differences(engine: Any, zero: Mapping[str, Any] | None, step: StepSize) -> list[str]:
    """The differences between a wrapped model and the settings; empty if they agree."""
    kind = type(engine).__name__
    if not zero:
        wanted = "DistributedDataParallel" if step.processes > 1 else None
        if wanted and kind != wanted:
            return [f"processes={step.processes} needs {wanted}, but the model runs as {kind}"]
        return [] if wanted or kind != "DeepSpeedEngine" else ["zero=none, but DeepSpeed runs"]
    if kind != "DeepSpeedEngine":
        return [f"zero asks for DeepSpeed, but the model runs as {kind}"]
    optimizer, weights = offloads(zero)
    pairs = {
        "ZeRO stage": (zero_stage(zero), int(engine.zero_optimization_stage())),
        "processes": (step.processes, engine.dp_world_size),
        "clips a process": (step.per_device, engine.train_micro_batch_size_per_gpu()),
        "accumulated batches": (step.accumulation, engine.gradient_accumulation_steps()),
        "clips a step": (step.clips, engine.train_batch_size()),
        "optimizer in host memory": (optimizer, bool(engine.zero_cpu_offload())),
        "weights in host memory": (
            weights,
            engine.zero_offload_param() is not None,
        ),
    }
    return [
        f"{name}: asked {asked}, got {got}" for name, (asked, got) in pairs.items() if asked != got
    ]
