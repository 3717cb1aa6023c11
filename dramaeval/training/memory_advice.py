"""Advice for a training step that ran out of memory: settings that the same training accepts and that need less memory.

The advice begins with the settings that give the same result and only take longer; settings that change the training
follow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from omegaconf import DictConfig

from dramaeval.config.batch_size import ACCUMULATION, PER_DEVICE, step_size
from dramaeval.config.keys import is_a
from dramaeval.models.inputs.collation import Batch
from dramaeval.models.settings import PART_SETTINGS
from dramaeval.training.grpo.settings import SAMPLED
from dramaeval.training.objectives import parse

_STEPS_PER_GENERATION = "steps_per_generation"
#: The length to which clips are cut, in seconds.
_SECONDS = 15


def batch_settings(trainer: Any) -> str:
    """The settings that determine the size of a pass and of a step, as in the run or in ``args``."""
    args, config = trainer.args, trainer.run_config
    accumulation = f"{ACCUMULATION}={args.gradient_accumulation_steps}"
    if config is None:
        return f"{PER_DEVICE}={args.per_device_train_batch_size}, {accumulation}"
    if config.batch.max_tokens is not None:
        return f"batch.max_tokens={config.batch.max_tokens}, trainer.args.{accumulation}"
    per_device = step_size(config, args.world_size).per_device
    return f"batch.per_device={per_device}, trainer.args.{accumulation}"


def memory_advice(trainer: Any, batch: Batch) -> list[str]:
    """The advice about a trainer's failed batch, as texts ``settings: effect``.

    Args:
        trainer: a `JudgeTrainer`. Without its ``run_config``, the advice names arguments of Python.
    """
    if trainer.run_config is None:
        return list(_for_python(trainer))
    return list(_for_run(trainer, trainer.run_config, batch))


def _for_python(trainer: Any) -> Iterator[str]:
    args = trainer.args
    # TRL counts completions, and those of a question stay together.
    unit = getattr(trainer, "num_generations", 1) * trainer.record_encoder.task.prompts_per_record
    clips = args.per_device_train_batch_size // unit
    if clips > 1:
        fewer, accumulation = _divided(clips, args.gradient_accumulation_steps)
        yield f"{PER_DEVICE}={fewer * unit}, {ACCUMULATION}={accumulation} in args: the same step, a little slower"
    if not (args.gradient_checkpointing or _has_prefix(trainer.model)):
        yield "gradient_checkpointing=True in args: the same result, about a third slower"
    if not hasattr(trainer.model, "peft_config"):
        yield "peft_config=create_peft_config(): gradients and optimizer states of an adapter only"


def _for_run(trainer: Any, config: DictConfig, batch: Batch) -> Iterator[str]:
    args, model = trainer.args, trainer.model
    by_reward, budget = is_a(config.trainer.args, "GRPOConfig"), config.batch.max_tokens
    if not config.batch.shared_prefix and config.model.attention == "sdpa" and batch.questions > 1:
        yield "batch.shared_prefix=true: the same result, and a clip's questions share memory"
    if smaller := _smaller_pass(config, args.world_size):
        yield f"{smaller}: the same step, a little slower"
    if not (args.gradient_checkpointing or _has_prefix(model)):
        yield "trainer.args.gradient_checkpointing=true: the same result, about a third slower"
    is_float32 = next(model.parameters()).dtype == torch.float32
    if args.device.type == "cuda" and is_float32 and torch.cuda.is_bf16_supported():
        yield "model.dtype=bfloat16: half the weights, rounded"
    if not hasattr(model, "peft_config") and _takes_adapter(config):
        yield "peft=lora: gradients and optimizer states of an adapter only"
    if budget is not None and trainer.budget_batches.largest < budget:
        fewer = max(trainer.budget_batches.largest, budget // 2)
        yield f"batch.max_tokens={fewer}: fewer clips in each step"
    dimensions = _dimensions_per_clip(batch)
    if not by_reward and budget is None and dimensions > 1:
        yield (
            f"batch.questions_per_clip={dimensions // 2}: each step samples fewer questions a clip; train for "
            "more epochs"
        )
    if by_reward and config.trainer.estimator == SAMPLED and trainer.num_generations >= 4:
        fewer = trainer.num_generations // 2
        yield f"trainer.args.num_generations={fewer}: fewer answers to each question are compared"
    if trainer.record_encoder.family.takes_audio and budget is None:
        longest = max(max(record.prompt_clips.values()) for record in trainer.train_records)
        if min(config.task.data.max_seconds, longest) > _SECONDS:
            yield (
                f"task.data.max_seconds={_SECONDS} task.data.on_long=trim: only the beginning of longer clips "
                "is used"
            )


def _smaller_pass(config: DictConfig, processes: int) -> str | None:
    """The settings with which a pass has about half the clips and a step equally many; None if none are accepted."""
    args, batch = config.trainer.args, config.batch
    step = step_size(config, processes)
    if batch.max_tokens is not None or step.per_device == 1:
        return None
    per_device, accumulation = _divided(step.per_device, step.accumulation)
    objective = config.trainer.get("objective")
    names = dict(parse(objective, config.trainer.objectives)) if objective else {}
    if per_device == 1 and "ranking" in names:
        return None  # it orders the clips of a pass
    settings = {f"trainer.args.{PER_DEVICE}": per_device} if args.get(PER_DEVICE) else {}
    if batch.per_device is not None or not settings:
        settings["batch.per_device"] = per_device
    if batch["global"] is None or args.get(ACCUMULATION):
        settings[f"trainer.args.{ACCUMULATION}"] = accumulation
    if passes := args.get(_STEPS_PER_GENERATION):
        settings[f"trainer.args.{_STEPS_PER_GENERATION}"] = (
            passes * accumulation // step.accumulation
        )
    return " ".join(f"{key}={value}" for key, value in settings.items())


def _divided(clips: int, accumulation: int) -> tuple[int, int]:
    """About half the clips per pass, and the number of accumulated passes with which the step stays the same."""
    total = clips * accumulation
    fewer = max(size for size in range(1, (clips + 1) // 2 + 1) if total % size == 0)
    return fewer, total // fewer


def _dimensions_per_clip(batch: Batch) -> int:
    """The largest number of dimensions that a record of a batch is asked about."""
    asked = defaultdict(set)
    for record, dimension in batch.question_keys:
        asked[record].add(dimension)
    return max(map(len, asked.values()), default=0)


def _takes_adapter(config: DictConfig) -> bool:
    """Whether a training of all weights also accepts ``peft=lora``: every adapted part is trained, with one rate."""
    names = {config.adapt} if isinstance(config.adapt, str) else set(config.adapt)
    is_fixed = any(
        config.model.get(key) is fixed and {part, "all"} & names
        for part, key, fixed in PART_SETTINGS
    )
    return not is_fixed and not any((config.trainer.get("learning_rates") or {}).values())


def _has_prefix(model: Any) -> bool:
    """Whether the adapter is prefix tuning, whose cache gradient checkpointing would fill twice."""
    adapters = getattr(model, "peft_config", {}).values()
    return any(adapter.peft_type == "PREFIX_TUNING" for adapter in adapters)
