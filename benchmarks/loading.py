"""Measures how long a training step waits for its clips, with and without loading processes.

A pause takes the place of the training, as if a GPU computed the step; the rest is the wait for the next batch. No
clip is cached, as in a first epoch.
"""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.product import TIMED, Product
from benchmarks.timing import OURS, Row, alternate

#: Seconds of the pause. A step of eight clips with the 7B on one H100 takes longer.
PAUSE = 0.1
IN_LINE = "dataloader_num_workers=0"
BESIDE = (
    "trainer.args.dataloader_num_workers=1",
    "trainer.args.dataloader_persistent_workers=true",
)
CLIPS = 8


def beside(bench: Bench) -> list[Row]:
    """Batches of eight clips with all their questions."""
    shared = (*TIMED, "peft=lora", f"batch.per_device={CLIPS}")
    products = {OURS: bench.product(*shared, *BESIDE), IN_LINE: bench.product(*shared)}
    turns = {name: lambda one=one: waited(one) * 1e3 for name, one in products.items()}
    return [
        Row(
            section="loading",
            work=f"waiting for the next {CLIPS} clips of a first epoch",
            unit="ms a step",
            rounds=alternate(turns, bench.rounds),
            note=f"one loading process; a step computes for {PAUSE * 1e3:g} ms elsewhere",
        )
    ]


def waited(product: Product) -> float:
    """Seconds that a step waits for its batch; the first step, in which the process starts, is left out."""
    batches = iter(product.trainer().get_train_dataloader())
    next(batches)
    taken = []
    for _ in range(1, len(product.records) // CLIPS):
        time.sleep(PAUSE)
        began = time.perf_counter()
        next(batches)
        taken.append(time.perf_counter() - began)
    return sum(taken) / len(taken)
