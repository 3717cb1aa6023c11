"""The plan of a run: an estimate of its data, steps, compute and memory, from files and the architecture alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dramaeval.config.batch_size import StepSize
from dramaeval.data.problems import BadRecordsError, counted
from dramaeval.data.records import Record
from dramaeval.distributed.zero import offloads, zero_stage
from dramaeval.models.adapters import count_parameters
from dramaeval.models.families.base import Family
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.planning.flops import Shape, training_step
from dramaeval.models.planning.machine import Capacity
from dramaeval.models.planning.memory import MemoryEstimate, estimate, readable
from dramaeval.models.quantization import packed_bytes
from dramaeval.stages.question_lengths import QuestionLengths, question_lengths
from dramaeval.stages.training_arguments import clips_a_pass, planned_steps
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import trainable_dimensions

_MEMORY_KINDS = ("weights", "gradients", "optimizer", "activations")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run.

    Attributes:
        records, questions, hours: their numbers by split; ``hours`` of audio.
        steps: optimizer steps; 0 without training.
        clips: the size of a step; None without training.
        stage: the ZeRO stage; 0 without ZeRO.
        parameters, trainable: the numbers of all and of the trainable parameters.
        by_part: (trainable, all) parameters of each part.
        longest_question: tokens of the longest question with its answer.
        counted: whether they were counted with the model's tokenizer, or estimated.
        positions: of the model, less those of virtual tokens; None without a limit.
        longest_record: the record of that question.
        memory: of one process.
        packed: the number of quantised parameters.
        max_tokens: of a training pass; None if ``batch.max_tokens`` is not set.
        operations: floating-point operations of a step; 0 if they are unknown.
        device, dtype: of the weights.
    """

    records: Mapping[str, int]
    questions: Mapping[str, int]
    hours: Mapping[str, float]
    steps: int
    clips: StepSize | None
    stage: int
    parameters: int
    trainable: int
    by_part: Mapping[str, tuple[int, int]]
    longest_question: int
    memory: MemoryEstimate
    packed: int = 0
    max_tokens: int | None = None
    operations: float = 0.0
    device: str = "cpu"
    dtype: str = "float32"
    longest_record: str = ""
    counted: bool = False
    positions: int | None = None

    @property
    def step(self) -> str:
        """The content of one optimizer step, as text."""
        clips = self.clips
        if clips is None:
            return "nothing"
        if self.max_tokens is not None:
            passes = clips.accumulation * clips.processes
            return f"{passes} × at most {self.max_tokens:,} tokens, by an estimate of the lengths"
        if clips.processes == clips.accumulation == 1:
            return f"{clips.clips} clips"
        return (
            f"{clips.clips} clips: {clips.per_device} a pass, {clips.accumulation} accumulated, "
            f"{clips.processes} " + ("process" if clips.processes == 1 else "processes")
        )

    @property
    def _sharing(self) -> str:
        """How processes share the memory, as text; empty for one process without ZeRO."""
        if self.clips is None or (self.clips.processes == 1 and not self.stage):
            return ""
        how = f"ZeRO stage {self.stage}" if self.stage else "each holds everything"
        return f" of {self.clips.processes} ({how})"

    def lines(self) -> list[str]:
        """The plan as lines for the terminal."""
        return ["Plan", *self._data_lines(), *self._model_lines(), *self._memory_lines()]

    def _data_lines(self) -> list[str]:
        return [
            f"  {name:<10} {counted(count, 'record')}, {counted(self.questions[name], 'question')}, "
            f"{self.hours[name]:.2f} hours of audio"
            for name, count in self.records.items()
        ]

    def _model_lines(self) -> list[str]:
        def trainable(count: int) -> str:
            return f", {count:,} trainable" if self.clips is not None else ""

        lines = [
            f"  {'model':<10} {self.parameters:,} parameters{trainable(self.trainable)}, {self.device} in "
            f"{self.dtype}"
        ]
        for part, (trained, total) in self.by_part.items():
            if total:
                lines.append(f"    {part:<10} {total:,} parameters{trainable(trained)}")
        if self.packed:
            lines.append(f"  {'quantised':<10} {self.packed:,} of the language model's parameters")
        if self.steps:
            lines.append(f"  {'steps':<10} {self.steps:,} of {self.step}")
        if self.steps and self.operations:
            lines.append(
                f"  {'compute':<10} about {self.operations / 1e12:,.3g} TFLOP a step, "
                f"{self.operations * self.steps / 1e15:,.3g} PFLOP in all"
            )
        return lines

    def _memory_lines(self) -> list[str]:
        memory = self.memory
        lines = [
            f"  {'prompts':<10} {self._longest_tokens} in the longest question{self._positions}",
            f"  {'memory':<10} about {readable(memory.total)} a process{self._sharing}:",
        ]
        for name in _MEMORY_KINDS:
            where = " in host memory" if name in memory.in_host else ""
            if size := getattr(memory, name):
                lines.append(f"    {name:<10} {readable(size)}{where}")
        if memory.host:
            lines.append(f"    {'host':<10} {readable(memory.host)} beside it")
        return lines

    @property
    def _longest_tokens(self) -> str:
        return f"{'' if self.counted else 'about '}{self.longest_question:,} tokens"

    @property
    def _positions(self) -> str:
        return f"; the model has {self.positions:,} positions" if self.positions else ""

    def problems(self) -> list[str]:
        """The reasons why the training would change no weights."""
        if self.clips is None:
            return []
        problems = []
        if self.steps < 1:
            problems.append(
                "The training would take no step: set trainer.args.max_steps or num_train_epochs higher."
            )
        if not self.trainable:
            problems.append(
                "No weights would be trained: name other parts in adapt, or change model.freeze_audio and "
                "model.train_projector."
            )
        return problems

    def shortages(self, capacity: Capacity | None) -> list[str]:
        """The memory that the plan needs and a machine lacks, with a remedy for each kind.

        Args:
            capacity: of the machine; None if it is unknown.
        """
        if capacity is None:
            return []
        largest = max(_MEMORY_KINDS, key=lambda kind: getattr(self.memory, kind))
        return [
            f"The plan needs {shortage}. Most of it is for the {largest}: {self._remedy(largest)}. "
            "plan_force=true runs it nevertheless."
            for shortage in capacity.shortages(self.memory)
        ]

    def _remedy(self, largest: str) -> str:
        if largest == "weights":
            half = "model.dtype=bfloat16, " if self.dtype == "float32" else ""
            return f"choose a smaller model, {half}a quantised one (peft=qlora), or share it with zero=zero3"
        if largest in ("gradients", "optimizer"):
            return "train an adapter (peft=lora), or share them between processes (zero=zero2)"
        longest = f"the longest question, of {self.longest_record}, has {self._longest_tokens}"
        if self.clips is None:
            return f"{longest}; shorten it, or lower batch.eval_clips"
        return (
            f"{longest}; shorten it, lower batch.per_device or batch.max_tokens, or set "
            "trainer.args.gradient_checkpointing=true"
        )


def make_plan(
    *,
    splits: Mapping[str, Sequence[Record]],
    task: Task,
    family: Family,
    skeleton: Any,
    args: Any | None,
    batch: Any,
    dtype: torch.dtype,
    device: torch.device,
    processes: int = 1,
    quantization: Any | None = None,
    zero: Mapping[str, Any] | None = None,
    record_encoder: RecordEncoder | None = None,
    positions: int | None = None,
    seed: int = 0,
) -> Plan:
    """Estimate the plan of a run.

    Args:
        splits: the records by split.
        task: gives the questions.
        family: of the model.
        skeleton: the model on the meta device, adapters attached and frozen parts frozen.
        args: the trainer's arguments; None without training.
        batch: the settings of ``batch``. With ``max_tokens`` the number of steps is an estimate.
        dtype: of the weights.
        device: of the weights.
        processes: that train.
        quantization: of the language model, if any.
        zero: the settings of ``zero``.
        record_encoder: counts the tokens of the longest questions; None estimates them.
        positions: of the model; None without a limit.
        seed: of the run.

    Raises:
        BadRecordsError: with the records whose questions the model has no positions for.
    """
    questions = _questions(splits, task)
    parts = count_parameters(skeleton, family)
    total = sum(count for _, count in parts.values())
    trained = sum(count for count, _ in parts.values()) if args is not None else 0
    lengths = question_lengths(
        splits,
        task,
        family,
        questions_per_clip=batch.questions_per_clip,
        shared_prefix=batch.shared_prefix,
        record_encoder=record_encoder,
        positions=positions,
        seed=seed,
    )
    if lengths.too_long:
        raise BadRecordsError(lengths.too_long)
    shape = Shape.of(skeleton.config)
    if args is None:
        steps, clips, operations = 0, None, 0.0
        memory = _scoring_memory(shape, total, lengths, batch, dtype)
    else:
        clips = StepSize(clips_a_pass(args), args.gradient_accumulation_steps, processes)
        steps = planned_steps(sum(map(bool, questions.get("train", []))), args, processes)
        pass_clips: float = clips.per_device
        if batch.max_tokens is not None:
            tokens = sum(work.tokens for work in lengths.training)
            pass_clips = batch.max_tokens * len(lengths.training) / max(tokens, 1)
            if args.max_steps <= 0:
                steps = planned_steps(math.ceil(tokens / batch.max_tokens), args, processes)
        operations = _operations(shape, parts, lengths, args)
        operations *= pass_clips * clips.accumulation * clips.processes
        memory = _training_memory(
            shape, parts, lengths, args, batch, pass_clips, dtype, processes, zero
        )
    packed, each = packed_bytes(quantization, skeleton, family.parts) if quantization else (0, 0.0)
    if packed:
        memory = replace(memory, weights=memory.weights - packed * (dtype.itemsize - each))
    return Plan(
        records={name: len(records) for name, records in splits.items()},
        questions={name: sum(counts) for name, counts in questions.items()},
        hours={
            name: sum(record.seconds for record in records) / 3600
            for name, records in splits.items()
        },
        steps=steps,
        clips=clips,
        stage=zero_stage(zero),
        parameters=total,
        trainable=trained,
        by_part=parts,
        longest_question=lengths.longest,
        memory=memory,
        packed=packed,
        max_tokens=batch.max_tokens,
        operations=operations,
        device=device.type,
        dtype=str(dtype).removeprefix("torch."),
        longest_record=lengths.longest_record,
        counted=lengths.counted,
        positions=positions,
    )


def _questions(splits: Mapping[str, Sequence[Record]], task: Task) -> dict[str, list[int]]:
    """The number of questions about each record, by split."""
    return {
        name: [
            len(
                trainable_dimensions(task, record)
                if name == "train"
                else task.dimensions_for(record)
            )
            for record in records
        ]
        for name, records in splits.items()
    }


def _operations(
    shape: Shape, parts: Mapping[str, tuple[int, int]], lengths: QuestionLengths, args: Any
) -> float:
    """Floating-point operations of a training clip; 0 for GRPO, whose sampling the formula does not cover."""
    if hasattr(args, "num_generations"):
        return 0.0
    total = sum(count for _, count in parts.values())
    trained = sum(count for count, _ in parts.values())
    adapter = trained * 2 <= total
    step = training_step(
        shape,
        lengths.training,
        rank=max(1, round(trained / shape.adapter_weights(1))) if adapter else 0,
        trains_audio=bool(parts.get("audio", (0, 0))[0]),
        trains_inputs=any(count for part, (count, _) in parts.items() if part != "llm"),
        checkpointing=args.gradient_checkpointing,
    )
    return step.total / max(len(lengths.training), 1)


def _scoring_memory(
    shape: Shape, total: int, lengths: QuestionLengths, batch: Any, dtype: torch.dtype
) -> MemoryEstimate:
    """Memory of one scoring process."""
    return estimate(
        total=total,
        trainable=0,
        bytes_per_weight=dtype.itemsize,
        tokens=lengths.largest.tokens * batch.eval_clips,
        hidden=shape.hidden,
        layers=1,  # no activations are kept for a backward pass
        inner=shape.inner,
    )


def _training_memory(
    shape: Shape,
    parts: Mapping[str, tuple[int, int]],
    lengths: QuestionLengths,
    args: Any,
    batch: Any,
    pass_clips: float,
    dtype: torch.dtype,
    processes: int,
    zero: Mapping[str, Any] | None,
) -> MemoryEstimate:
    """Memory of one training process; ``pass_clips`` is the number of clips of a pass."""
    largest = lengths.largest
    trains_audio = bool(parts.get("audio", (0, 0))[0])
    return estimate(
        total=sum(count for _, count in parts.values()),
        trainable=sum(count for count, _ in parts.values()),
        bytes_per_weight=dtype.itemsize,
        tokens=batch.max_tokens or largest.tokens * clips_a_pass(args),
        hidden=shape.hidden,
        layers=shape.layers,
        inner=shape.inner,
        copied=round(pass_clips * largest.copied),
        audio=shape.tower_bytes(round(pass_clips * largest.frames), dtype.itemsize) * trains_audio,
        checkpointing=args.gradient_checkpointing,
        processes=processes,
        stage=zero_stage(zero),
        offload=offloads(zero),
    )
