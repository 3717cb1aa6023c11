"""DeepSpeed ZeRO: its configuration, filled from the trainer's, and the check that it is what runs.

transformers starts plain data parallelism, without a word, where it does not find what it needs for
DeepSpeed; and "auto" values are filled in from whatever is known at the time. So nothing is left at "auto",
and the engine that came out is compared with what was asked for before the first step.
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
        args: the trainer's arguments by name, as far as they are given.
        step: clips a process, and how often, in one optimizer step.
    """
    whole = {
        **zero,
        "train_micro_batch_size_per_gpu": step.per_device,
        "gradient_accumulation_steps": step.accumulation,
        "gradient_clipping": float(args.get("max_grad_norm", 1.0)),
        "bf16": {"enabled": bool(args.get("bf16"))},
        "fp16": {"enabled": bool(args.get("fp16"))},
        # The optimizer is transformers', whichever trainer.args.optim names.
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
    }
    # The rest of the product is DeepSpeed's to compute: transformers would compare it with one process's.
    whole.pop("train_batch_size", None)
    return whole


def disable_zero_compilation() -> None:
    """Let DeepSpeed talk over gloo on a CPU, instead of compiling a library for it at the first start.

    That takes a C++ compiler and, on a slow machine, minutes.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def set_zero_process_group(args: Any) -> None:
    """Correct what accelerate believes of the processes under DeepSpeed on a CPU: that there is one.

    It derives rank and number from a GPU back end, and without one every process would take itself for the
    first: all would read the same clips and write the same files. Its state is shared by all its objects.
    """
    import torch.distributed

    state = args.distributed_state
    state.backend = torch.distributed.get_backend()
    state.num_processes = torch.distributed.get_world_size()
    state.process_index = torch.distributed.get_rank()
    state.local_process_index = int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def unpartitioned_weights() -> Iterator[None]:
    """Read models whole in here, although the training to come splits their weights.

    Under ZeRO-3 transformers would split them while reading: the judge could then not be scored before the
    training, and the names in the files that are saved would come out wrong.
    """
    from transformers.integrations import deepspeed as integration

    kept = integration._hf_deepspeed_config_weak_ref
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        integration._hf_deepspeed_config_weak_ref = kept


def offloads(zero: Mapping[str, Any] | None) -> tuple[bool, bool]:
    """Whether the optimizer's states and whether the weights are kept in host memory."""
    settings = (zero or {}).get("zero_optimization", {})
    named = [settings.get(name) or {} for name in ("offload_optimizer", "offload_param")]
    optimizer, weights = (one.get("device", "none") != "none" for one in named)
    return optimizer, weights


def zero_stage(zero: Mapping[str, Any] | None) -> int:
    """The ZeRO stage that is asked for; 0 for none."""
    return int((zero or {}).get("zero_optimization", {}).get("stage", 0))


class ZeroEngineCheck(TrainerCallback):
    """Stops a training whose engine is not the one that was asked for.

    Args:
        trainer: whose engine it is.
        zero: the ``zero`` group's settings; None for none.
        step: clips of an optimizer step.
    """

    def __init__(self, trainer: Any, zero: Mapping[str, Any] | None, step: StepSize) -> None:
        self.trainer = trainer
        self.zero = zero
        self.step = step

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Compare, once the model is wrapped and before it sees a batch.

        Raises:
            ZeroError: with every difference.
        """
        differences = engine_differences(self.trainer.model_wrapped, self.zero, self.step)
        if args.world_size != self.step.processes:
            differences.append(
                f"processes: asked {self.step.processes}, but the trainer counts {args.world_size}"
            )
        if differences:
            raise ZeroError(
                "The training that was started is not the one that was asked for: "
                + "; ".join(differences)
                + ". Nothing was trained."
            )


def engine_differences(engine: Any, zero: Mapping[str, Any] | None, step: StepSize) -> list[str]:
    """What of a wrapped model differs from what was asked for; empty where all is right."""
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
