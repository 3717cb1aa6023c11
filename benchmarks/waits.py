"""Measures how long a user waits, and writes docs/waits.md.

    python -m benchmarks.waits                 # everything, about 15 minutes on 2 cores
    python -m benchmarks.waits --only command  # the waits of one group; the others keep their last figures

Every wait is measured in processes of its own, with the bundled judge and sample. Commands are started three times and
the median is shown; the sweep and the report run once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from benchmarks.midsize import TINY
from benchmarks.page import measure_by_name, surroundings
from benchmarks.product import ROOT

PAGE = ROOT / "docs" / "waits.md"
TIMES = 3
RUNS, STEPS = 12, 20
#: The time of a line of train.log, and the step that it reports.
_STEP = re.compile(r"^(\S+ \S+) INFO .*train: step (\d+) of \d+", re.MULTILINE)
_SECOND_JUDGE = """
import time
from dramaeval import Judge
Judge.load({first!r})
began = time.perf_counter()
Judge.load({second!r})
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Wait:
    """One row of the page: what is waited for, the figure with its unit, the goal, and how it was measured."""

    what: str
    figure: float
    unit: str
    wanted: float
    how: str


def commands(folder: Path) -> Iterator[Wait]:
    """Commands that compute nothing: help, the composed settings, a setting that does not exist."""
    for words, wanted, code in (
        (["--help"], 1.2, 0),
        (["--cfg", "job"], 1.2, 0),
        (["trainer.args.learnin_rate=1e-4"], 2.0, 1),
    ):
        words = ["launch.py", *words]
        taken = []
        for _ in range(TIMES):
            began = time.perf_counter()
            done = _python(*words, folder=folder)
            taken.append(time.perf_counter() - began)
            if bool(done.returncode) != bool(code):
                raise RuntimeError(done.stderr)
        shown = f"`python {' '.join(words)}`"
        yield Wait(shown, statistics.median(taken), "s", wanted, "wall time, median of three")


def second_judge(folder: Path) -> Iterator[Wait]:
    """`Judge.load` of another folder in a process that has loaded a judge."""
    second = folder / "second"
    shutil.copytree(TINY, second, dirs_exist_ok=True)
    code = _SECOND_JUDGE.format(first=str(TINY), second=str(second))
    taken = []
    for _ in range(TIMES):
        done = _python("-c", code, folder=folder, check=True)
        taken.append(float(done.stdout.split()[-1]))
    yield Wait(
        "`Judge.load` of a second judge", statistics.median(taken), "s", 1.0, "median of three"
    )


def sweep(folder: Path) -> Iterator[Wait]:
    """A sweep of short runs, compared with the time that their steps take, with the default validation."""
    yield _sweep(folder, "with validation")


def bare_sweep(folder: Path) -> Iterator[Wait]:
    """The same sweep without validation: what remains beside the steps are starts, reading and saving."""
    unvalidated = ("trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false")
    yield _sweep(folder, "without validation", *unvalidated)


def _sweep(folder: Path, kind: str, *settings: str) -> Wait:
    seeds = ",".join(map(str, range(RUNS)))
    words = [
        "launch.py", "-m", "task=role", "peft=lora", f"seed={seeds}", "stages=[train]", *settings,
        f"trainer.args.max_steps={STEPS}", "trainer.args.logging_steps=1", f"hydra.sweep.dir={folder}/sweep",
    ]  # fmt: skip
    began = time.perf_counter()
    _python(*words, folder=folder, check=True)
    whole = time.perf_counter() - began
    logs = [file.read_text("utf-8") for file in (folder / "sweep").glob("*/train.log")]
    steps = sum(map(seconds_of_steps, logs))
    if len(logs) != RUNS:
        raise RuntimeError(f"{len(logs)} of {RUNS} runs have a train.log")
    what = f"a sweep of {RUNS} runs of {STEPS} steps {kind}, as a multiple of its steps"
    how = f"{whole:.0f} s and {steps:.0f} s; validation is not part of the steps"
    return Wait(what, whole / steps, "times", 2.5, how)


def seconds_of_steps(log: str) -> float:
    """The time of a run's steps: the median time between two lines, for all steps; validation between them is left out."""
    ends = [
        datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp() for at, _ in _STEP.findall(log)
    ]
    return STEPS * statistics.median(later - sooner for sooner, later in pairwise(ends))


def report(folder: Path) -> Iterator[Wait]:
    """The report of 20,000 records with ten dimensions."""
    done = _python("-m", "benchmarks.report_size", "records", folder=ROOT, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    how = "`python -m benchmarks.report_size records`: elapsed"
    what = "the report of 20,000 records × 10 dimensions"
    yield Wait(what, found["elapsed_seconds"], "s", 20, how)
    yield Wait(f"size of {what}", found["bytes"]["report.html"] / 1e6, "MB", 20, how)


GROUPS: dict[str, Callable[[Path], Iterator[Wait]]] = {
    "command": commands,
    "judge": second_judge,
    "sweep": sweep,
    "bare_sweep": bare_sweep,
    "report": report,
}


def _python(*words: str, folder: Path, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run ``python WORDS``; launch.py runs in the folder of the repository, with its output in ``folder``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT if words[0] == "launch.py" else folder,
        env=environment, capture_output=True, text=True, check=check,
    )  # fmt: skip


def page(kept: dict[str, list[dict[str, object]]]) -> str:
    """The text of the page."""
    known = surroundings()
    versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
    lines = [
        "# Waits",
        "",
        "Written by `python -m benchmarks.waits`: how long a user waits for the bundled judge and its sample.",
        "",
        "| wait | measured | wanted at most | how |",
        "| --- | ---: | ---: | --- |",
    ]
    for values in (row for group in GROUPS for row in kept.get(group, ())):
        row = Wait(**values)  # type: ignore[arg-type]  # written by asdict
        lines.append(
            f"| {row.what} | {row.figure:.2f} {row.unit} | {row.wanted:g} {row.unit} | {row.how} |"
        )
    lines += ["", f"{known['cores']} cores, {known['processor']}; {versions}.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page after each group."""

    def measure(group: str) -> list[dict[str, object]]:
        with tempfile.TemporaryDirectory() as name:
            return [asdict(row) for row in GROUPS[group](Path(name))]

    measure_by_name(__doc__, GROUPS, measure, page, PAGE)


if __name__ == "__main__":
    main()
