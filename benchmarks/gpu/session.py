"""What the sections of `benchmarks.gpu` share: device, sizes, records, and runs of dramaeval."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.sections import Figure

if TYPE_CHECKING:
    from dramaeval.models.inputs.batch import Batch
    from dramaeval.stages.context import RunContext

GIB = 2**30
#: As in `benchmarks.product.TIMED`: no validation, no checkpoints, nothing from a cache.
TRAINING = (
    "stages=[train]",
    "logger=none",
    "cache.enabled=false",
    "task.data.val=null",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.lr_scheduler_type=constant",
    "trainer.args.warmup_steps=0",
    "trainer.args.learning_rate=1e-5",
    "trainer.args.logging_steps=1",
)


@dataclass(frozen=True)
class Session:
    """The device and the sizes of the measurements.

    Attributes:
        folder: for records, checkpoints and run folders.
        device: ``cuda`` or ``cpu``.
        dry: tiny sizes.
    """

    folder: Path
    device: torch.device
    dry: bool = False

    @property
    def depth(self) -> int:
        """Layers of the language model."""
        return 2 if self.dry else 32

    @property
    def cut_depth(self) -> int:
        """Layers where all weights are trained or float32 is used."""
        return 2 if self.dry else 4

    @cached_property
    def records(self) -> Path:
        """The file of the records."""
        from benchmarks import material

        return material.write(self.folder / "records", 6 if self.dry else 40)

    def words(self, *overrides: str, depth: int | None = None) -> list[str]:
        """The overrides of a run with the random judge."""
        from benchmarks.midsize import TINY

        chosen = any(word == "peft=none" or word.startswith("model.dtype=") for word in overrides)
        given = [] if chosen else ["model.dtype=bfloat16"]
        return [
            "model=qwen2_audio",
            "model._target_=benchmarks.random_7b.RandomQwen2Audio",
            f"model.path={TINY}",
            f"+model.depth={depth or self.depth}",
            f"+model.small={str(self.dry).lower()}",
            f"task.data.train={self.records}",
            f"task.data.test={self.records}",
            f"device={self.device.type}",
            *given,
            *overrides,
        ]

    def context(self, name: str, words: Sequence[str], **arguments: Any) -> RunContext:
        """The `RunContext` of a run, checked as launch.py does; the judge is not loaded yet."""
        from dramaeval import startup
        from dramaeval.config.composition import compose
        from dramaeval.stages.checks import check
        from dramaeval.stages.context import RunContext
        from dramaeval.stages.run_folder import RunFolder

        startup.prepare_device(self.device.type)
        config = compose(*words)
        check(config)
        return RunContext(config, RunFolder(self.folder / "runs" / name), **arguments)

    def train(
        self,
        name: str,
        words: Sequence[str],
        steps: int = 4,
        prepare: Callable[[Any], None] = lambda _: None,
        **arguments: Any,
    ) -> Iterator[Figure]:
        """Train by the product's trainer; time, memory against the plan, and the rate of the card that is reached.

        Args:
            name: of the run folder.
            words: overrides.
            steps: optimizer steps.
            prepare: changes the trainer before its first step.
            arguments: of `RunContext`.

        Raises:
            ValueError: a loss is not finite.
        """
        from dramaeval.stages.planner import make_plan
        from dramaeval.stages.train import make_trainer

        context = self.context(
            name, [*TRAINING, *words, f"trainer.args.max_steps={steps}"], **arguments
        )
        planned = make_plan(context)
        self.reset_peak()
        trainer = make_trainer(context)
        times = StepTimes(self)
        trainer.add_callback(times)
        prepare(trainer)
        trainer.train()
        yield Figure(name="step", value=times.median, unit="s", note="median after the first")
        yield Figure(name="first step", value=times.first, unit="s")
        batch = trainer.current
        yield Figure(name="questions a step", value=batch.questions)
        yield Figure(name="questions per second", value=batch.questions / times.median, unit="1/s")
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        if not losses or not all(abs(loss) < float("inf") for loss in losses):
            raise ValueError(f"the losses are {losses}: finite ones are expected")
        yield Figure(name="last loss", value=losses[-1])
        yield from self.memory(planned.memory.total)
        operations = step_operations(trainer, batch)
        if operations is not None:
            yield from self.utilisation(operations / times.median)

    def memory(self, planned: float | None = None) -> Iterator[Figure]:
        """The largest memory so far, and its ratio to the plan's."""
        if self.device.type != "cuda":
            yield Figure(name="peak memory", value="not measured", note="on a CPU")
            return
        peak = torch.cuda.max_memory_allocated()
        yield Figure(name="peak memory", value=peak / GIB, unit="GiB")
        if planned is not None:
            note = f"the plan has {planned / GIB:.1f} GiB"
            yield Figure(name="peak memory ÷ plan", value=peak / planned, note=note)

    def utilisation(self, rate: float) -> Iterator[Figure]:
        """The operations per second, as a share of the device's rate of matrix products."""
        note = f"of {self.rate / 1e12:.3g} TFLOP/s in a bfloat16 product"
        yield Figure(name="utilisation", value=rate / self.rate, note=note)

    @cached_property
    def rate(self) -> float:
        """Operations per second of a large bfloat16 matrix product."""
        size = 256 if self.dry else 8192
        left, right = (
            torch.randn(size, size, device=self.device, dtype=torch.bfloat16) for _ in range(2)
        )
        return 2 * size**3 / self.time(lambda: left @ right, repeats=10)

    def time(self, work: Callable[[], Any], repeats: int = 5) -> float:
        """Seconds of one call: the median of some, after a first one."""
        found = []
        for number in range(repeats + 1):
            self.wait()
            began = time.perf_counter()
            work()
            self.wait()
            if number:
                found.append(time.perf_counter() - began)
        return statistics.median(found)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def reset_peak(self) -> None:
        """Forget the largest memory so far."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()


class StepTimes:
    """Notes when each optimizer step ends; see `transformers.TrainerCallback`, whose other methods do nothing."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.ends: list[float] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *_, **__: None
        raise AttributeError(name)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._note()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """See transformers."""
        self._note()

    def _note(self) -> None:
        self.session.wait()
        self.ends.append(time.perf_counter())

    @property
    def each(self) -> list[float]:
        """Seconds of each step, loading of data included."""
        return [later - sooner for sooner, later in zip(self.ends[:-1], self.ends[1:], strict=True)]

    @property
    def first(self) -> float:
        """Seconds of the first step."""
        return self.each[0]

    @property
    def median(self) -> float:
        """Median seconds of the steps after the first."""
        return statistics.median(self.each[1:])


def step_operations(trainer: Any, batch: Batch) -> float | None:
    """Operations of a training step on a batch by the formula; None for GRPO, which the formula does not cover."""
    from benchmarks.machine import works
    from dramaeval.models.forward.judge_model import unwrap_judge
    from dramaeval.models.planning.flops import Shape, training_step

    if hasattr(trainer.args, "num_generations"):
        return None
    model = unwrap_judge(trainer.accelerator.unwrap_model(trainer.model))
    shape = Shape.of(model.config)
    adapter = getattr(trainer.accelerator.unwrap_model(trainer.model), "peft_config", None)
    rank = next(iter(adapter.values())).r if adapter else 0
    checkpointing = bool(trainer.args.gradient_checkpointing)
    terms = training_step(shape, works(batch), rank=rank, checkpointing=checkpointing)
    return terms.total * trainer.args.gradient_accumulation_steps
