"""Measures which share of the machine's rate of matrix products a training step reaches."""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.bench import Bench, peft_of
from benchmarks.product import TIMED
from benchmarks.timing import OURS, Row, alternate, seconds
from dramaeval.models.inputs.collation import Batch
from dramaeval.models.planning.flops import Shape, Work, training_step

SIZE = 2048
PRODUCT = f"torch.mm of {SIZE} × {SIZE}"
LAYOUTS = {
    "ten questions of a record, context first": ("batch.per_device=1",),
    "two questions, published order": (
        "task.prompt_layout=criteria_first",
        "batch.questions_per_clip=1",
        "batch.per_device=2",
    ),
}


def share(bench: Bench) -> list[Row]:
    """Seconds per TFLOP of a training step and of a matrix product, in turns."""
    rows = []
    for name, overrides in LAYOUTS.items():
        for lora in (True, False):
            method = "LoRA" if lora else "full"
            settings = (*TIMED, *peft_of(lora), *overrides, "trainer.args.max_steps=1")
            rows.append(share_of(bench, f"{name}, {method}", settings, rank=16 if lora else 0))
    return rows


def share_of(
    bench: Bench, name: str, settings: tuple[str, ...], *, section: str = "machine", **trained: Any
) -> Row:
    """Seconds per TFLOP; ``trained`` are the arguments of `training_step` that say what is trained.

    The facts have the operations that take the longest, as shares of the processor time of a step.
    """
    product = bench.product(*settings)
    trainer = product.trainer()
    trainer.create_optimizer()
    trainer.model.train()
    count = product.config.batch.per_device
    batch = trainer.data_collator([{"record": at} for at in range(count)])["batch"]
    shape = Shape.of(trainer.model.config)
    terms = training_step(shape, works(batch), **trained)
    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)

    def step() -> float:
        return seconds(lambda: take_step(trainer, batch)) / terms.total * 1e12

    def multiply() -> float:
        times = [seconds(lambda: torch.mm(one, other)) for _ in range(5)]
        return min(times) / (2 * SIZE**3) * 1e12

    found = alternate({OURS: step, PRODUCT: multiply}, bench.rounds)
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiled:
        step()
    averages = profiled.key_averages()
    total = sum(one.self_cpu_time_total for one in averages)
    longest = sorted(averages, key=lambda one: -one.self_cpu_time_total)[:8]
    return Row(
        section=section,
        work=f"a training step as a share of the machine's matrix products, {name}",
        unit="s a TFLOP",
        rounds=found,
        target=0.6,
        note="operations by the formula that a test compares with PyTorch's counter; optimizer included",
        facts={
            "TFLOP a step": round(terms.total / 1e12, 3),
            **{one.key: f"{one.self_cpu_time_total / total:.0%}" for one in longest},
        },
    )


def works(batch: Batch) -> list[Work]:
    """The work of each clip of a batch, padding included."""
    inputs = batch.inputs
    prefix = inputs["prefix_mask"].shape[1] if "prefix_mask" in inputs else 0
    rows, width = inputs["input_ids"].shape
    branches = inputs.get("branch_count", 1)
    frames = [int(one) for one in inputs["feature_frames"]]
    return [
        Work(
            prefix=prefix,
            branches=branches,
            width=(width - prefix) // branches,
            frames=frames[row],
            answers=len(batch.labels) // (rows * branches),
        )
        for row in range(rows)
    ]


def take_step(trainer: Any, batch: Batch) -> None:
    """An optimizer step on one batch; the trainer has its optimizer."""
    trainer.optimizer.zero_grad()
    terms = trainer.objective(trainer.model(**batch.inputs).logits, batch)
    torch.stack(list(terms.values())).mean().backward()
    trainer.optimizer.step()
