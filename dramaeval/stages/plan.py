"""The plan of a run: what it will read, compute and need, from files and architecture alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dramaeval.config.batch_size import StepSize
from dramaeval.data.records import Record
from dramaeval.distributed.zero import offloads, zero_stage
from dramaeval.models.adapters import count_parameters
from dramaeval.models.families.base import Family
from dramaeval.models.planning.flops import Shape, Work, training_step
from dramaeval.models.planning.memory import MemoryEstimate, estimate, readable
from dramaeval.models.quantization import packed_bytes
from dramaeval.stages.splits import Splits
from dramaeval.tasks.question import Question
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import trainable_dimensions

#: English text has about four characters a token in Qwen's vocabulary.
_CHARACTERS_A_TOKEN = 4
_FRAMES_A_SECOND = 100


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do; `lines` is it in words."""

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

    @property
    def step(self) -> str:
        """What one optimizer step is made of, in words."""
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
    def shared(self) -> str:
        """How the memory is shared, in words; nothing where it is not."""
        if self.clips is None or (self.clips.processes == 1 and not self.stage):
            return ""
        how = f"ZeRO stage {self.stage}" if self.stage else "each holds everything"
        return f" of {self.clips.processes} ({how})"

    def lines(self) -> list[str]:
        """The plan as lines for the terminal."""
        told = ["Plan"]
        for name, count in self.records.items():
            told.append(
                f"  {name:<10} {count:,} records, {self.questions[name]:,} questions, "
                f"{self.hours[name]:.2f} hours of audio"
            )
        trains = self.clips is not None
        share = f", {self.trainable:,} trainable" if trains else ""
        told.append(
            f"  {'model':<10} {self.parameters:,} parameters{share}, {self.device} in {self.dtype}"
        )
        for part, (trained, total) in self.by_part.items():
            if total:
                share = f", {trained:,} trainable" if trains else ""
                told.append(f"    {part:<10} {total:,} parameters{share}")
        if self.packed:
            told.append(f"  {'quantised':<10} {self.packed:,} of the language model's parameters")
        if self.steps:
            told.append(f"  {'steps':<10} {self.steps:,} of {self.step}")
            if self.operations:
                told.append(
                    f"  {'compute':<10} about {self.operations / 1e12:,.3g} TFLOP a step, "
                    f"{self.operations * self.steps / 1e15:,.3g} PFLOP in all"
                )
        told.append(
            f"  {'prompts':<10} about {self.longest_question:,} tokens in the longest question"
        )
        told.append(f"  {'memory':<10} about {readable(self.memory.total)} a process{self.shared}:")
        for name in ("weights", "gradients", "optimizer", "activations"):
            where = " in host memory" if name in self.memory.in_host else ""
            if size := getattr(self.memory, name):
                told.append(f"    {name:<10} {readable(size)}{where}")
        if self.memory.host:
            told.append(f"    {'host':<10} {readable(self.memory.host)} beside it")
        return told

    def problems(self) -> list[str]:
        """Why a training would not train."""
        if self.clips is None:
            return []
        told = []
        if self.steps < 1:
            told.append(
                "The training would take no step: set trainer.args.max_steps or num_train_epochs higher."
            )
        if not self.trainable:
            told.append(
                "Nothing of the model would be trained: give other parts to adapt, or let model.freeze_audio "
                "and model.train_projector leave something."
            )
        return told


def make_plan(
    *,
    splits: Splits,
    task: Task,
    family: Family,
    skeleton: Any,
    args: Any | None,
    questions_per_clip: int | None,
    shared_prefix: bool,
    dtype: torch.dtype,
    device: torch.device,
    eval_clips: int,
    max_tokens: int | None = None,
    processes: int = 1,
    quantization: Any | None = None,
    zero: Mapping[str, Any] | None = None,
) -> Plan:
    """Work out the plan.

    Args:
        splits: the records that were read.
        task: what is asked about them.
        family: the model's family.
        skeleton: the model on the meta device, adapters already attached and frozen parts frozen.
        args: the trainer's arguments; None where nothing is trained.
        questions_per_clip: as in ``batch.questions_per_clip``.
        shared_prefix: as in ``batch.shared_prefix``.
        dtype: of the weights.
        device: where they are.
        eval_clips: as in ``batch.eval_clips``.
        max_tokens: as in ``batch.max_tokens``; the number of steps is then an estimate.
        processes: how many processes train.
        quantization: of the language model, if any.
        zero: the ``zero`` group's settings.
    """
    asked = {
        name: [
            trainable_dimensions(task, one) if name == "train" else task.asked(one)
            for one in records
        ]
        for name, records in splits.records.items()
    }
    parts = count_parameters(skeleton, family)
    total = sum(count for _, count in parts.values())
    trained = sum(count for count, _ in parts.values())
    lengths = _lengths(splits, task, family, questions_per_clip, shared_prefix)
    longest, largest = lengths.longest, lengths.largest
    steps, clips, operations = 0, None, 0.0
    text = skeleton.config.get_text_config()
    form = Shape.of(skeleton.config)
    shape: dict[str, Any] = {
        "total": total,
        "bytes_per_weight": dtype.itemsize,
        "hidden": text.hidden_size,
        "layers": text.num_hidden_layers,
        "inner": form.inner,
    }
    if args is None:
        # No layer's activations are kept; the record_encoder of one batch pass through one layer at a time.
        memory = estimate(**{**shape, "layers": 1}, trainable=0, tokens=largest.tokens * eval_clips)
    else:
        clips = StepSize(clips_a_pass(args), args.gradient_accumulation_steps, processes)
        steps = planned_steps(sum(map(bool, asked.get("train", []))), args, processes)
        pass_clips: float = clips.per_device
        if max_tokens is not None:
            learnt = sum(one.tokens for one in lengths.learnt)
            pass_clips = max_tokens * len(lengths.learnt) / max(learnt, 1)
            if args.max_steps <= 0:
                steps = planned_steps(math.ceil(learnt / max_tokens), args, processes)
        hearing = bool(parts.get("audio", (0, 0))[0])
        once = training_step(
            form,
            lengths.learnt,
            rank=0 if trained * 2 > total else max(1, round(trained / form.adapter_weights(1))),
            trains_audio=hearing,
            trains_inputs=any(count for part, (count, _) in parts.items() if part != "llm"),
            checkpointing=args.gradient_checkpointing,
        )
        passes = pass_clips * clips.accumulation * clips.processes
        # GRPO writes and passes several times, which is not in the formula.
        if not hasattr(args, "num_generations"):
            operations = once.total / max(len(lengths.learnt), 1) * passes
        memory = estimate(
            **shape,
            trainable=trained,
            tokens=max_tokens or largest.tokens * clips.per_device,
            copied=round(pass_clips * largest.copied),
            audio=form.tower_bytes(round(pass_clips * largest.frames), dtype.itemsize) * hearing,
            checkpointing=args.gradient_checkpointing,
            processes=processes,
            stage=zero_stage(zero),
            offload=offloads(zero),
        )
    packed, each = packed_bytes(quantization, skeleton, family.parts) if quantization else (0, 0.0)
    if packed:
        memory = replace(memory, weights=memory.weights - packed * (dtype.itemsize - each))
    return Plan(
        records={name: len(records) for name, records in splits.records.items()},
        questions={name: sum(map(len, lists)) for name, lists in asked.items()},
        hours={name: _hours(records) for name, records in splits.records.items()},
        steps=steps,
        clips=clips,
        stage=zero_stage(zero),
        parameters=total,
        trainable=trained if args is not None else 0,
        by_part=parts,
        longest_question=longest,
        memory=memory,
        packed=packed,
        max_tokens=max_tokens,
        operations=operations,
        device=device.type,
        dtype=str(dtype).removeprefix("torch."),
        longest_record=lengths.longest_record,
    )


def planned_steps(records: int, args: Any, processes: int = 1) -> int:
    """Optimizer steps of a run; the last of an epoch may be short."""
    if args.max_steps > 0:
        return int(args.max_steps)
    if hasattr(args, "num_generations"):
        # As many clips as are generated at once, or none; see `dramaeval.training.grpo.groups.GenerationBatchSampler`.
        generated = records // (clips_a_pass(args) * args.steps_per_generation * processes)
        passes = generated * args.steps_per_generation * args.num_iterations
        per_epoch = max(math.ceil(passes / args.gradient_accumulation_steps), 1)
        return math.ceil(per_epoch * args.num_train_epochs)
    clips = args.per_device_train_batch_size * args.gradient_accumulation_steps * processes
    per_epoch = max(math.ceil(records / clips), 1)
    return math.ceil(per_epoch * args.num_train_epochs)


def clips_a_pass(args: Any) -> int:
    """Clips of a forward pass and process; with GRPO TRL counts the completions of all of them."""
    return int(args.per_device_train_batch_size // getattr(args, "num_generations", 1))


def _hours(records: Sequence[Record]) -> float:
    return sum(record.seconds for record in records) / 3600


@dataclass(frozen=True)
class _Lengths:
    """Tokens of the longest question, the largest encoded_record, and training's record_encoder."""

    longest: int
    longest_record: str
    largest: Work
    learnt: Sequence[Work]


def _lengths(
    splits: Splits, task: Task, family: Family, questions_per_clip: int | None, shared_prefix: bool
) -> _Lengths:
    """Estimated tokens of questions and record_encoder, over all splits."""
    longest, longest_record = 0, ""
    largest, learnt = Work(prefix=0, branches=1, width=0), []
    for name, record in ((name, one) for name, own in splits.records.items() for one in own):
        heard = (record, *task.examples(record))
        frames = [max(1, round(one.seconds * _FRAMES_A_SECOND)) for one in heard]
        audio = sum(map(family.audio_tokens, frames))
        encoded = sum(map(family.encoded_frames, frames))
        dimensions = task.asked(record)[: questions_per_clip or None]
        asked = task.questions(record, dimensions)
        texts = [_text_of(one.messages) for one in asked]
        own = [audio + len(text) // _CHARACTERS_A_TOKEN for text in texts]
        if max(own, default=0) > longest:
            longest, longest_record = max(own), f"record {record.id} ({record.file}:{record.line})"
        if not own:
            continue
        common = 0
        if shared_prefix and len(texts) > 1:
            common = audio + len(_common(texts)) // _CHARACTERS_A_TOKEN
        width = round(sum(own) / len(own)) - common
        work = Work(
            prefix=common,
            branches=len(own),
            width=width,
            frames=encoded,
            answers=max(map(_reply_tokens, asked)),
        )
        largest = max(largest, work, key=lambda one: one.tokens)
        if name == "train":
            learnt.append(work)
    return _Lengths(longest, longest_record, largest, learnt)


def _reply_tokens(question: Question) -> int:
    """Tokens of an answer, with the one that ends the turn."""
    text = question.solution((0,) * len(question.places))
    return len(text) // _CHARACTERS_A_TOKEN + 2


def _text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for message in messages:
        content = message["content"]
        items = [{"text": content}] if isinstance(content, str) else content
        parts += [item["text"] for item in items if "text" in item]
    return "\n".join(parts)


def _common(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    at = next(
        (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    return first[:at]
