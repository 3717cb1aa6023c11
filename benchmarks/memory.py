"""Measures the peak memory of a step that trains all weights, each contender in a separate process.

`python -m benchmarks.memory NAME FOLDER` is such a process; after NAME, `grown` subtracts the memory before the first
step. ms-swift and LLaMA-Factory are started by their own commands.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.peak import peak_of
from benchmarks.plain import Questions
from benchmarks.product import ROOT, TIMED
from benchmarks.timing import OURS, Row
from benchmarks.training import PLAIN, TRL
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder

#: Each step has two sequences of one question each, and trains all weights.
OVERRIDES = (
    *TIMED,
    "peft=none",
    "task.prompt_layout=criteria_first",
    "batch.questions_per_clip=1",
    "batch.per_device=2",
    "trainer.args.max_steps=3",
)


def full_step(bench: Bench) -> list[Row]:
    """Peak resident memory of a process that trains all weights for three steps of two questions."""
    bench.file, bench.model  # noqa: B018 - written before the processes look for them
    found: dict[str, list[float]] = {name: [] for name in (OURS, PLAIN, TRL)}
    others: dict[str, list[float]] = {}
    for _ in range(1 if bench.quick else min(bench.rounds, 3)):
        for name, peaks in found.items():
            peaks.append(_measured(name, bench))
        for name, peak in _others(bench).items():
            others.setdefault(name, []).append(peak)
    notes = ("peak resident memory of the whole process", bench.missing_peers())
    return [
        Row(
            section="memory",
            work="peak memory of a full step of two questions, one a sequence",
            unit="MiB",
            rounds={**found, **others},
            target=1.0,
            note="; ".join(part for part in notes if part),
            facts=_beside_the_plan(bench),
        )
    ]


def _beside_the_plan(bench: Bench) -> dict[str, str]:
    """The memory that the steps add to the loaded judge, and the estimate of the plan."""
    run = RunContext(bench.product(*OVERRIDES).config, RunFolder(bench.folder / "plan"))
    planned = make_plan(run).memory
    grown = _measured(f"{OURS} grown", bench)
    return {
        "what the steps add to the loaded judge": f"{grown:.0f} MiB",
        "the plan's gradients, optimizer and activations": (
            f"{(planned.total - planned.weights) / 2**20:.0f} MiB"
        ),
    }


def _measured(name: str, bench: Bench) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", name, str(bench.folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def _others(bench: Bench) -> dict[str, float]:
    """The peak of each installed peer, whose own command trains on the same rows."""
    there = bench.peers()
    if not there:
        return {}
    product = bench.product(*OVERRIDES)
    rows = peers.in_order(Questions(product.task, product.records).rows, 6)
    return {
        one.name: one.train(rows, lora=False, steps=3, batch=2, accumulate=1).peak for one in there
    }


def _steps(name: str, folder: Path) -> None:
    bench = Bench(folder)
    product = bench.product(*OVERRIDES)
    loaded = 0.0
    if name.startswith(OURS):
        trainer = product.trainer()
        if name != OURS:
            loaded = psutil.Process().memory_info().rss / 2**20
        trainer.train()
    else:
        plain = bench.plain(product)
        plain.trainer(folder / "peer", steps=3, rows=2, accumulate=1, trl=name == TRL).train()
    print(peak_of() - loaded)


if __name__ == "__main__":
    _steps(sys.argv[1], Path(sys.argv[2]))
