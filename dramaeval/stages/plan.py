"""The plan of a run: an estimate of its data, steps, compute and memory, without loading weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dramaeval.config.batch_size import StepSize
from dramaeval.data.problems import counted
from dramaeval.models.planning.machine import Capacity
from dramaeval.models.planning.memory import KINDS, MemoryEstimate, readable
from dramaeval.stages.thought_cost import ThoughtCost

PADDING = 0.1
"""The plan names the padding from this share of the positions on."""


@dataclass(frozen=True, kw_only=True)
class Padding:
    """The padding of training passes.

    Attributes:
        share: the share of the positions that the language model computes for nothing.
        budget: a value of ``batch.max_tokens`` for passes of about as many clips; None if it cannot be used.
    """

    share: float
    budget: int | None

    def text(self) -> str:
        """The padding in words, and how to avoid it."""
        advice = (
            f"; batch.max_tokens={self.budget} instead of a number of clips puts clips of similar length "
            "together"
        )
        return f"about {self.share:.0%} of the positions{advice if self.budget else ''}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a run.

    Attributes:
        records, questions, hours: the numbers of records, questions and hours of audio by split.
        steps: the number of optimizer steps; 0 without training.
        clips: the size of a step; None without training.
        stage: the ZeRO stage; 0 without ZeRO.
        parameters, trainable: the number of all parameters and of trainable parameters.
        by_part: the numbers of trainable and of all parameters of each part.
        longest_question: the number of tokens of the longest question with its answer.
        counted: whether the model's tokenizer has counted these tokens; otherwise they are estimated.
        positions: the model's positions without those of virtual tokens; None without a limit.
        longest_record: the record of the longest question.
        memory: the memory of one process.
        packed: the number of quantised parameters.
        max_tokens: the largest number of tokens per training pass; None if ``batch.max_tokens`` is not set.
        operations: the number of floating-point operations of a step, padding included; 0 if unknown.
        padding: the padding of training passes; None if unknown or without training.
        device, dtype: the device and the data type of the weights.
        in_full: the parts with new weights that are trained in full together with an adapter.
        untrained: the parts with new weights that are not trained.
        thoughts: the cost of thoughts that the judge generates; None if it generates no thoughts.
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
    padding: Padding | None = None
    device: str = "cpu"
    dtype: str = "float32"
    longest_record: str = ""
    counted: bool = False
    positions: int | None = None
    in_full: Sequence[str] = ()
    untrained: Sequence[str] = ()
    thoughts: ThoughtCost | None = None

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
        """The sharing of memory between processes, as text; empty for one process without ZeRO."""
        if self.clips is None or (self.clips.processes == 1 and not self.stage):
            return ""
        sharing = f"ZeRO stage {self.stage}" if self.stage else "each holds everything"
        return f" of {self.clips.processes} ({sharing})"

    def lines(self) -> list[str]:
        """The plan as lines for the terminal."""
        return ["Plan", *self._data_lines(), *self._model_lines(), *self._memory_lines()]

    def _data_lines(self) -> list[str]:
        width = max([10, *map(len, self.records)])
        return [
            f"  {name:<{width}} {counted(count, 'record')}, {counted(self.questions[name], 'question')}, "
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
                lines.append(
                    f"    {part:<10} {total:,} parameters{trainable(trained)}{self._remark(part)}"
                )
        if self.packed:
            lines.append(f"  {'quantised':<10} {self.packed:,} of the language model's parameters")
        if self.steps:
            lines.append(f"  {'steps':<10} {self.steps:,} of {self.step}")
        if self.steps and self.operations:
            lines.append(
                f"  {'compute':<10} about {self.operations / 1e12:,.3g} TFLOP a step, "
                f"{self.operations * self.steps / 1e15:,.3g} PFLOP in all"
            )
        if self.steps and self.padding is not None and self.padding.share >= PADDING:
            lines.append(f"  {'padding':<10} {self.padding.text()}")
        if self.thoughts is not None:
            lines.append(f"  {'thoughts':<10} {self.thoughts.text()}")
        return lines

    def _remark(self, part: str) -> str:
        """A remark about the training of a part with new weights; empty for other parts."""
        if part in self.in_full:
            return "; its weights are new: trained in full and saved with the adapter"
        if part in self.untrained:
            return "; its weights are new and are not trained"
        return ""

    def _memory_lines(self) -> list[str]:
        memory = self.memory
        lines = [
            f"  {'prompts':<10} {self._longest_tokens} in the longest question{self._positions}",
            f"  {'memory':<10} about {readable(memory.total)} a process{self._sharing}:",
        ]
        for name in KINDS:
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
                "No weights would be trained: name other parts in adapt, or change model.freeze_audio, "
                "model.freeze_llm and model.train_projector."
            )
        return problems

    def shortages(self, capacity: Capacity | None) -> list[str]:
        """Problems of memory that the plan needs and the machine lacks, each with a remedy.

        Args:
            capacity: the memory of the machine; None if unknown.
        """
        if capacity is None:
            return []
        kinds = [kind for kind in KINDS if kind != "program"]
        largest = max(kinds, key=lambda kind: getattr(self.memory, kind))
        return [
            f"The plan needs {shortage}. Most of it is for the {largest}: {self._remedy(largest)}. "
            "plan_force=true runs it anyway."
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
