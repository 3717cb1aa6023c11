"""Compares the correlation that the prompt layouts reach on the bundled sample.

    python -m benchmarks.layouts                    # the sweep (nine trainings), then the page
    python -m benchmarks.layouts FOLDER [FOLDER …]  # the page from finished runs

All layouts are trained for three epochs (the default) with the same seeds. Differences are paired: all runs have the
same bootstrap draws, which resample characters.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.labels_and_objectives import (
    DRAWS,
    LEVEL,
    ROOT,
    Finished,
    finished,
    limits,
    measured,
)
from benchmarks.page import write_with_remarks
from dramaeval.evaluation.bootstrap import bootstrap_draws, interval
from dramaeval.evaluation.dimension_arrays import cluster_names
from dramaeval.tasks.task import LAYOUTS

DEFAULT = "context_first"
SWEEP = (
    "launch.py", "-m", "task=role", "peft=lora", "seed=0,1,2", "trainer.objective=soft_ce",
    f"task.prompt_layout={','.join(LAYOUTS)}", "evaluation.zero_shot=false", "logger=none",
)  # fmt: skip


def by_layout(runs: Sequence[Finished]) -> dict[str, dict[int, Finished]]:
    """The runs of each layout by their seeds.

    Raises:
        ValueError: the layouts differ in seeds, labels, objective or steps.
    """
    found: dict[str, dict[int, Finished]] = {layout: {} for layout in LAYOUTS}
    for run in runs:
        found[run.layout][run.seed] = run
    if any(of.keys() != found[DEFAULT].keys() or not of for of in found.values()):
        raise ValueError(
            f"The layouts' seeds differ: { {k: sorted(v) for k, v in found.items()} }."
        )
    if len({(run.cell, run.steps) for run in runs}) != 1:
        raise ValueError("The runs differ in more than seed and layout.")
    return found


def page(found: Mapping[str, Mapping[int, Finished]]) -> str:
    """The text of docs/prompt_layout.md."""
    seeds = sorted(found[DEFAULT])
    first = found[DEFAULT][seeds[0]].predictions
    clusters = cluster_names(one for one in first if one.mean_rating is not None)
    draws = bootstrap_draws(len(clusters), DRAWS, 0)
    values = {
        layout: [measured(runs[seed].predictions, clusters, draws) for seed in seeds]
        for layout, runs in found.items()
    }
    pearson = {layout: [one[0] for one in of] for layout, of in values.items()}
    over = {layout: np.mean([one[1] for one in of], axis=0) for layout, of in values.items()}
    objective = found[DEFAULT][seeds[0]].cell[1]
    lines = [
        "# Prompt layout",
        "",
        f"Written by `python -m benchmarks.layouts`: `task=role peft=lora trainer.objective={objective}` on "
        "the bundled tiny judge and sample, three epochs. The figures are macro PCCs (Pearson correlations) on the test "
        f"split. Intervals are {LEVEL:.0%} percentile intervals of {DRAWS:,} bootstrap draws that resample characters; all "
        "runs have the same draws.",
        "",
        "```bash",
        f"python {shlex.join(SWEEP)}",
        "```",
        "",
        "| `task.prompt_layout` | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean |",
        "| --- |" + " --- |" * (len(seeds) + 1),
    ]
    for layout in found:
        each = " | ".join(f"{one:.3f}" for one in pearson[layout])
        mean = f"{np.mean(pearson[layout]):.3f}{limits(interval(over[layout], LEVEL))}"
        lines.append(f"| {layout} | {each} | {mean} |")
    for layout in LAYOUTS[1:]:
        gain = np.mean(pearson[DEFAULT]) - np.mean(pearson[layout])
        apart = interval(over[DEFAULT] - over[layout], LEVEL)
        lines += ["", f"{DEFAULT} over {layout}: {gain:+.3f}{limits(apart)}."]
    lines.append("")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "prompt_layout.md")
    given = parser.parse_args(arguments)
    folders = given.folders
    if not folders:
        into = "multirun_outputs/layouts"
        command = [sys.executable, *SWEEP, f"hydra.sweep.dir={into}"]
        subprocess.run(command, cwd=ROOT, check=True)
        folders = [ROOT / into]
    write_with_remarks(given.out, page(by_layout(finished(folders))))
    print(given.out.read_text("utf-8"))


if __name__ == "__main__":
    main(sys.argv[1:])
