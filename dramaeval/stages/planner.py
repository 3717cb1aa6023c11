"""Makes the plan of a run from files and the architecture, without loading weights."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.batch_size import StepSize, token_budget_obstacle
from dramaeval.config.schema import Stage
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.distributed.processes import processes_here
from dramaeval.distributed.zero import offloads, zero_stage
from dramaeval.models.adapters import count_parameters, read_adapter
from dramaeval.models.families.base import Family
from dramaeval.models.forward.generation import supports_cache
from dramaeval.models.planning.flops import Shape, Work, training_step, with_padding
from dramaeval.models.planning.generation_time import measure_generation
from dramaeval.models.planning.machine import Capacity
from dramaeval.models.planning.memory import PROGRAM_BYTES, MemoryEstimate, estimate
from dramaeval.models.quantization import packed_bytes
from dramaeval.stages.compatibility import attach_checked
from dramaeval.stages.context import RunContext
from dramaeval.stages.plan import Padding, Plan
from dramaeval.stages.question_lengths import QuestionLengths, question_lengths
from dramaeval.stages.read_splits import scores_input
from dramaeval.stages.thought_cost import ThoughtCost, thought_cost
from dramaeval.stages.training_arguments import clips_per_pass, planned_steps
from dramaeval.tasks.task import Task
from dramaeval.training.grpo.arguments import check_completions
from dramaeval.training.grpo.settings import trains_by_reward
from dramaeval.training.question_sampler import trainable_dimensions


def make_plan(context: RunContext) -> Plan:
    """Estimate a run's data, steps, compute and memory. With ``batch.max_tokens`` the number of steps is an estimate.

    Raises:
        ConfigError: completions of GRPO are too long for the model's positions.
        BadRecordsError: lists the records whose questions are too long for the model's positions.
    """
    config, args, task, family = context.config, context.args, context.task, context.family
    splits, batch, processes = context.splits.records, config.batch, config.processes
    skeleton, positions = _skeleton(context)
    questions = _questions(splits, task)
    parts = count_parameters(skeleton, family)
    trained, total = _sums(parts)
    lengths = question_lengths(
        splits,
        task,
        family,
        questions_per_clip=batch.questions_per_clip,
        shared_prefix=batch.shared_prefix,
        clips_per_pass=batch.eval_clips if args is None else clips_per_pass(args),
        record_encoder=None if missing_files(context, starts=True) else context.record_encoder,
        positions=positions,
        seed=config.seed,
    )
    if lengths.too_long:
        raise BadRecordsError(lengths.too_long)
    shape, dtype = family.shape(skeleton.config), context.dtype
    padding = None
    if args is None:
        steps, clips, operations, trained = 0, None, 0.0, 0
        scored = min(batch.eval_clips, max(map(len, splits.values()), default=1))
        memory = estimate(
            total=total,
            trainable=0,
            bytes_per_weight=dtype.itemsize,
            tokens=lengths.largest.tokens * scored,
            hidden=shape.hidden,
            layers=1,  # no activations are kept for a backward pass
            inner=shape.inner,
        )
    else:
        prompts = task.prompts_per_record
        clips = StepSize(clips_per_pass(args, prompts), args.gradient_accumulation_steps, processes)
        trainable = sum(map(bool, questions.get("train", [])))
        steps = planned_steps(trainable, args, processes, prompts)
        pass_clips: float = clips.per_device
        if batch.max_tokens is not None:
            tokens = sum(work.tokens for work in lengths.training)
            pass_clips = batch.max_tokens * len(lengths.training) / max(tokens, 1)
            if args.max_steps <= 0:
                steps = planned_steps(math.ceil(tokens / batch.max_tokens), args, processes)
        work = lengths.training
        if batch.max_tokens is None:
            work = with_padding(work, clips.per_device, config.seed)
            padding = _padding(config, lengths.training, work, clips.per_device)
        operations = _operations(shape, parts, work, args)
        operations *= pass_clips * clips.accumulation * clips.processes
        memory = _training_memory(context, shape, parts, lengths, pass_clips)
    if context.planned_device.type == "cpu":
        memory = replace(memory, program=PROGRAM_BYTES)
    in_full, untrained = _new_parts(skeleton, family, parts) if args is not None else ((), ())
    packed = 0
    if context.quantization:
        packed, packed_size = packed_bytes(
            context.quantization, skeleton, family.parts, family.unquantised
        )
        saved = packed * (dtype.itemsize - packed_size)
        memory = replace(memory, weights=memory.weights - saved)
    return Plan(
        records={name: len(records) for name, records in splits.items()},
        questions={name: sum(counts) for name, counts in questions.items()},
        hours={name: sum(r.total_seconds for r in split) / 3600 for name, split in splits.items()},
        steps=steps,
        clips=clips,
        stage=zero_stage(config.zero),
        parameters=total,
        trainable=trained,
        by_part=parts,
        longest_question=lengths.longest,
        memory=memory,
        packed=packed,
        max_tokens=batch.max_tokens,
        operations=operations,
        padding=padding,
        device=context.planned_device.type,
        dtype=str(dtype).removeprefix("torch."),
        longest_record=lengths.longest_record,
        counted=lengths.counted,
        positions=positions,
        in_full=in_full,
        untrained=untrained,
        thoughts=_thoughts(context, skeleton, lengths.longest),
    )


def _thoughts(context: RunContext, skeleton: Any, prompt_tokens: int) -> ThoughtCost | None:
    """The cost of the thoughts; only a plan for this machine measures the seconds, and only if the weights fit it whole."""
    config, family = context.config, context.family
    scoring = {Stage.train, Stage.evaluate, Stage.controls}  # a training scores the val split
    if not context.stages & scoring and not scores_input(config):
        return None
    cost = thought_cost(context.splits.records, context.task, config.batch.eval_clips)
    if cost is None or not cost.passes or not config.plan or config.plan_device:
        return cost
    if context.quantization or family.device_map is not None or not supports_cache(skeleton):
        return cost
    measured = measure_generation(
        skeleton,
        family,
        context.device,
        context.dtype,
        prompt_tokens=prompt_tokens,
        texts=cost.thoughts_a_pass,
    )
    return cost.timed(measured)


def _new_parts(
    skeleton: Any, family: Family, parts: Mapping[str, tuple[int, int]]
) -> tuple[Sequence[str], Sequence[str]]:
    """The parts with new weights that are trained in full together with an adapter, and those that are not trained."""
    adapter = getattr(skeleton, "active_peft_config", None)
    saved = getattr(adapter, "modules_to_save", None) or ()
    in_full = [part for part in family.new_parts if family.parts[part].rpartition(".")[2] in saved]
    return in_full, [part for part in family.new_parts if not parts[part][0]]


def _skeleton(context: RunContext) -> tuple[Any, int | None]:
    """The model without weights, with the adapter, and the number of positions for questions; None without a limit."""
    family, adapter = context.family, context.adapter
    skeleton = family.skeleton(context.base)
    family.freeze_fixed(skeleton)
    positions = family.positions(skeleton.config)
    if positions is not None:
        positions -= _virtual_tokens(context)
    if context.trains and trains_by_reward(context.config):
        records, most = context.trainable_records, positions or sys.maxsize
        check_completions(context.args, context.record_encoder, records, most)
    if adapter is not None:
        skeleton = attach_checked(skeleton, adapter, context.config, family)
    return skeleton, positions if _needs_model(context) else None


def _virtual_tokens(context: RunContext) -> int:
    """The number of positions that an adapter uses for virtual tokens."""
    settings = context.adapter
    if settings is None and context.starting_adapter:
        settings = read_adapter(context.starting_adapter)
    if settings is None or not settings.is_prompt_learning:
        return 0
    return int(settings.num_virtual_tokens or 0)


def missing_files(context: RunContext, *, starts: bool) -> list[str]:
    """The problem of missing model files.

    Args:
        starts: whether the run will start next; if not, a plan for another machine needs no files.
    """
    if (context.config.plan_device and not starts) or not _needs_model(context):
        return []
    problem = context.family.files_problem(context.base)
    advice = "A plan for a machine that has the model: plan=true plan_device=cuda."
    return [f"{problem} {advice}"] if problem else []


def _needs_model(context: RunContext) -> bool:
    """Whether a stage computes with the model; other stages read results or clips."""
    light = {Stage.prepare, Stage.leaderboard, Stage.report}
    return bool(context.stages - light) or scores_input(context.config)


def capacity(context: RunContext) -> Capacity | None:
    """The memory of this machine, or of the machine that the settings describe.

    None if it is unknown, or if a device map distributes the model over devices.
    """
    if context.family.device_map is not None:
        return None
    if context.config.plan_device:
        return Capacity.described(context.config)
    return Capacity.here(context.device, processes_here(context.config.processes))


def _questions(splits: Mapping[str, Sequence[Record]], task: Task) -> dict[str, list[int]]:
    """The number of questions about each record, by split."""
    questions = {}
    for name, records in splits.items():
        asked = partial(trainable_dimensions, task) if name == "train" else task.dimensions_for
        questions[name] = [len(asked(record)) for record in records]
    return questions


def _sums(parts: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The numbers of trainable and of all parameters of the model."""
    return sum(count for count, _ in parts.values()), sum(count for _, count in parts.values())


def _operations(
    shape: Shape, parts: Mapping[str, tuple[int, int]], work: Sequence[Work], args: Any
) -> float:
    """The floating-point operations per training clip; 0 for GRPO, since the formula does not include sampling."""
    if hasattr(args, "num_generations"):
        return 0.0
    trained, total = _sums(parts)
    is_adapter = trained * 2 <= total
    step = training_step(
        shape,
        work,
        rank=max(1, round(trained / shape.adapter_weights(1))) if is_adapter else 0,
        trains_audio=bool(parts.get("audio", (0, 0))[0]),
        trains_inputs=any(count for part, (count, _) in parts.items() if part != "llm"),
        checkpointing=args.gradient_checkpointing,
    )
    return step.total / max(len(work), 1)


def _padding(
    config: DictConfig, work: Sequence[Work], padded: Sequence[Work], clips: int
) -> Padding | None:
    """The padding of passes of this many clips; None without clips to train on."""
    positions = sum(each.tokens for each in padded)
    if not positions:
        return None
    tokens = sum(each.tokens for each in work)
    fitting = max(tokens / len(work) * clips, 1.1 * max(each.tokens for each in work))
    budget = None if token_budget_obstacle(config) else 100 * math.ceil(fitting / 100)
    return Padding(share=1 - tokens / positions, budget=budget)


def _training_memory(
    context: RunContext,
    shape: Shape,
    parts: Mapping[str, tuple[int, int]],
    lengths: QuestionLengths,
    pass_clips: float,
) -> MemoryEstimate:
    """The memory of one training process; ``pass_clips`` is the number of clips per forward pass."""
    config, largest, weight = context.config, lengths.largest, context.dtype.itemsize
    trained, total = _sums(parts)
    trains_audio = bool(parts.get("audio", (0, 0))[0])
    return estimate(
        total=total,
        trainable=trained,
        bytes_per_weight=weight,
        tokens=config.batch.max_tokens or largest.tokens * int(pass_clips),
        hidden=shape.hidden,
        layers=shape.layers,
        inner=shape.inner,
        copied=round(pass_clips * largest.copied),
        logits=round(pass_clips * largest.branches * largest.answers) * shape.vocabulary,
        audio=shape.tower_bytes(round(pass_clips * largest.frames), weight) * trains_audio,
        checkpointing=context.args.gradient_checkpointing,
        processes=config.processes,
        stage=zero_stage(config.zero),
        offload=offloads(config.zero),
        # PEFT keeps the weights of an adapter in float32 in a model of 16 bits.
        float_adapter=bool(config.peft) and weight == 2,
    )
