"""Measures a GRPO step with eight completions per question, with and without a shared prompt and clip.

The two runs differ in ``batch.shared_prefix`` and sample the same completions. The enumerated estimator has the five
answers of the scale. Decoding of clips is not timed: the groups of a step are prepared before the clock starts.
"""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Bench
from benchmarks.timing import OURS, Row, Turn, alternate

if TYPE_CHECKING:
    from dramaeval.training.grpo.trainer import JudgeGRPOTrainer

REPEATED = "the prompt repeated"
SETTINGS = (
    "trainer=grpo", "stages=[train]", "device=cpu", "logger=none", "trainer.args.max_steps=1000",
    "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false", "cache.enabled=false",
)  # fmt: skip


def midsize(bench: Bench) -> list[Row]:
    """The random model of the 7B's proportions, one clip a step."""
    given = (
        "model=qwen2_audio",
        f"model.path={bench.model}",
        f"task.data.train={bench.file}",
        # Random weights seldom end a completion: as many tokens as an answer takes.
        "trainer.args.max_completion_length=7",
    )
    return [_compare(bench, "mid-size", one, given, clips=1) for one in ("sampled", "enumerated")]


def tiny(bench: Bench) -> list[Row]:
    """The bundled judge on the bundled sample, two clips a step."""
    return [_compare(bench, "tiny judge", one, (), clips=2) for one in ("sampled", "enumerated")]


def _compare(
    bench: Bench, model: str, estimator: str, given: tuple[str, ...], *, clips: int
) -> Row:
    words = [*SETTINGS, *given, f"trainer.estimator={estimator}", f"batch.per_device={clips}"]
    turns = {}
    for name, shared in ((OURS, True), (REPEATED, False)):
        folder = bench.folder / "grpo" / f"{model}-{estimator}-{shared}"
        settings = (*words, f"batch.shared_prefix={shared}")
        turns[name] = bench.contender(_steps, folder, settings, clips, bench.steps)
    completions = "8 completions" if estimator == "sampled" else "the 5 answers of the scale"
    return Row(
        section="grpo",
        work=f"a step of GRPO, {estimator}, {model}",
        unit="s a step",
        rounds=alternate(turns, bench.rounds),
        target=4.0 if estimator == "sampled" else None,
        note=f"{clips} clips a step, {completions} each",
    )


def _steps(folder: Path, settings: tuple[str, ...], clips: int, steps: int) -> Turn:
    trainer = trainer_of(folder, *settings)
    numbers = count()

    def turn() -> float:
        taken = 0.0
        for _ in range(steps):
            at = next(numbers) * clips % len(trainer.train_dataset)
            taken += step(trainer, range(at, at + clips))
        return taken / steps

    return turn


def trainer_of(folder: Path, *words: str) -> JudgeGRPOTrainer:
    """The trainer of one path, ready for its first step."""
    from dramaeval.config.composition import compose
    from dramaeval.stages.checks import check
    from dramaeval.stages.context import RunContext
    from dramaeval.stages.run_folder import RunFolder
    from dramaeval.stages.train import make_trainer

    config = compose(*words)
    check(config)
    trainer = make_trainer(RunContext(config, RunFolder(folder)))
    trainer.create_optimizer_and_scheduler(1000)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def step(trainer: JudgeGRPOTrainer, numbers: range) -> float:
    """Seconds of a step: completions, rewards, reference, loss, gradient, optimizer."""
    rows = [{"record": number, "epoch": 0} for number in numbers]
    for row in rows:
        trainer.groups(row["record"], row["epoch"])
    began = time.perf_counter()
    inputs = trainer._prepare_inputs(rows)
    trainer.compute_loss(trainer.model, inputs).backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return time.perf_counter() - began
