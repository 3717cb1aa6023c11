"""Measures which share of the machine's rate of matrix products a training step reaches."""

from __future__ import annotations

from typing import Any

import torch

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
            rows.append(_share(bench, f"{name}, {method}", lora, overrides))
    return rows


def _share(bench: Bench, name: str, lora: bool, overrides: tuple[str, ...]) -> Row:
    settings = (*TIMED, *peft_of(lora), *overrides, "trainer.args.max_steps=1")
    product = bench.product(*settings)
    trainer = product.trainer()
    trainer.create_optimizer()
    trainer.model.train()
    count = product.config.batch.per_device
    batch = trainer.data_collator([{"record": at} for at in range(count)])["batch"]
    shape = Shape.of(trainer.model.config)
    terms = training_step(shape, works(batch), rank=16 if lora else 0)
    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)

    def step() -> float:
        return seconds(lambda: _step(trainer, batch)) / terms.total * 1e12

    def multiply() -> float:
        times = [seconds(lambda: torch.mm(one, other)) for _ in range(5)]
        return min(times) / (2 * SIZE**3) * 1e12

    return Row(
        section="machine",
        work=f"a training step as a share of the machine's matrix products, {name}",
        unit="s a TFLOP",
        rounds=alternate({OURS: step, PRODUCT: multiply}, bench.rounds),
        target=0.6,
        note="operations by the formula that a test compares with PyTorch's counter; optimizer included",
        facts={"TFLOP a step": round(terms.total / 1e12, 3)},
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


def _step(trainer: Any, batch: Batch) -> None:
    trainer.optimizer.zero_grad()
    terms = trainer.objective(trainer.model(**batch.inputs).logits, batch)
    torch.stack(list(terms.values())).mean().backward()
    trainer.optimizer.step()
