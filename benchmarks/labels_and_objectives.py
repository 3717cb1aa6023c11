"""Compares label policies and objectives on the bundled sample in one sweep.

    python -m benchmarks.labels_and_objectives                    # the sweep, then the table
    python -m benchmarks.labels_and_objectives FOLDER [FOLDER …]  # the table from finished sweeps
    python -m benchmarks.labels_and_objectives --whole            # a few combinations, at full length

Each combination is trained for the same number of steps from the same weights with the same seeds, and evaluated on the
test split. The baseline is the published recipe: the score of one random rater with plain cross-entropy (`sample`,
`answer_ce`). The sweep consists of three commands of launch.py, which the page shows.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.page import write_with_remarks
from dramaeval.evaluation.bootstrap import BootstrapDraws, bootstrap_draws, interval
from dramaeval.evaluation.dimension_arrays import cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.metrics.score_errors import MeanSquaredError
from dramaeval.evaluation.predictions import Prediction
from dramaeval.stages.predictions_file import read_phase

ROOT = Path(__file__).resolve().parents[1]
LABELS = ("sample", "distribution", "mean", "median", "rater_weighted")
OBJECTIVES = ("answer_ce", "soft_ce", "soft_ce+expected_mse", "soft_ce+ordinal")
#: With the distribution of all raters only, to limit the duration of the sweep.
MORE_OBJECTIVES = ("soft_ce+ranking", "expected_mse")
BASE = ("sample", "answer_ce", "vocabulary")
#: The candidates for the default, each trained for as long as the default and with its best checkpoint.
FINALISTS = ("soft_ce", "soft_ce+expected_mse", "expected_mse+0.2*soft_ce", "expected_mse")
DRAWS, LEVEL = 2_000, 0.95
#: Overrides of every run of the sweep.
COMMON = (
    "task=role",
    "evaluation.zero_shot=false",
    "evaluation.draws=20",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "logger=none",
)

Cell = tuple[str, str, str]


@dataclass(frozen=True)
class Finished:
    """A run of the sweep that has finished."""

    cell: Cell
    layout: str
    seed: int
    steps: int
    predictions: list[Prediction]
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One combination over its seeds; intervals are those of the mean over the seeds."""

    cell: Cell
    seeds: tuple[int, ...]
    pearson: float
    pearson_interval: Sequence[float] | None
    between_seeds: float
    mse: float
    calibration: float | None
    gain: float
    gain_interval: Sequence[float] | None


def commands(
    folder: str,
    steps: int,
    seeds: str,
    more: Sequence[str] = (),
    labels: Sequence[str] = LABELS,
    objectives: Sequence[str] = OBJECTIVES,
) -> list[list[str]]:
    """The sweeps: labels × objectives, more objectives, and the regression head."""
    common = [*COMMON, f"trainer.args.max_steps={steps}", f"seed={seeds}", *more]
    return [
        [
            "launch.py", "-m", *common, f"task.labels={','.join(labels)}",
            f"trainer.objective={','.join(objectives)}", f"hydra.sweep.dir={folder}/tokens",
        ],
        [
            "launch.py", "-m", *common, "task.labels=distribution",
            f"trainer.objective={','.join(MORE_OBJECTIVES)}", f"hydra.sweep.dir={folder}/more",
        ],
        [
            "launch.py", "-m", *common, "model.head=regression", "task.labels=sample,mean",
            "trainer.objective=expected_mse,expected_mse+ranking", f"hydra.sweep.dir={folder}/head",
        ],
    ]  # fmt: skip


def whole(folder: str, seeds: str, more: Sequence[str] = ()) -> list[list[str]]:
    """The sweeps at full length: the finalists, and the published recipe."""
    common = [
        "launch.py",
        "-m",
        "task=role",
        "evaluation.zero_shot=false",
        "evaluation.draws=20",
        "logger=none",
    ]
    common += [f"seed={seeds}", *more]
    return [
        [
            *common,
            f"trainer.objective={','.join(FINALISTS)}",
            f"hydra.sweep.dir={folder}/finalists",
        ],
        [
            *common,
            "task.labels=sample",
            "trainer.objective=answer_ce",
            f"hydra.sweep.dir={folder}/published",
        ],
    ]


def finished(folders: Sequence[Path]) -> list[Finished]:
    """The finished runs below some folders; runs without results are reported and left out."""
    found = []
    for config in sorted(file for folder in folders for file in folder.rglob("config.yaml")):
        run = config.parent
        if run.name == ".hydra":
            continue
        if not (run / "metrics.json").is_file():
            print(f"{run} has no metrics.json: left out", file=sys.stderr)
            continue
        values: Any = OmegaConf.load(config)
        head = values.model.get("head", "vocabulary")
        cell = (values.task.labels, values.trainer.objective, head)
        found.append(
            Finished(
                cell=cell,
                layout=values.task.prompt_layout,
                seed=values.seed,
                steps=values.trainer.args.max_steps,
                predictions=read_phase(run / "predictions.jsonl").ratings["test"],
                metrics=json.loads((run / "metrics.json").read_text(encoding="utf-8")),
            )
        )
    return found


def rows_of(runs: Sequence[Finished]) -> list[Row]:
    """One row per combination, the best macro Pearson first.

    Intervals are percentiles over bootstrap draws that resample characters, the same draws for every run, so that
    differences are paired.

    Raises:
        ValueError: steps or seeds differ between the cells, or the baseline is missing.
    """
    by_cell: dict[Cell, dict[int, Finished]] = defaultdict(dict)
    for run in runs:
        if run.seed in by_cell[run.cell]:
            raise ValueError(
                f"{run.cell} was run twice with seed {run.seed}: give one sweep of it."
            )
        by_cell[run.cell][run.seed] = run
    seeds = {tuple(sorted(cell)) for cell in by_cell.values()}
    steps = {run.steps for run in runs}
    if len(seeds) != 1 or len(steps) != 1:
        raise ValueError(f"The cells differ in seeds {sorted(seeds)} or steps {sorted(steps)}.")
    if BASE not in by_cell:
        raise ValueError(f"The baseline {BASE} is missing.")
    first = runs[0].predictions
    clusters = cluster_names(one for one in first if one.mean_rating is not None)
    draws = bootstrap_draws(len(clusters), DRAWS, 0)
    values = {
        cell: [measured(run.predictions, clusters, draws) for _, run in sorted(of.items())]
        for cell, of in by_cell.items()
    }
    base = values[BASE]
    rows = [_row(cell, by_cell[cell], values[cell], base) for cell in by_cell]
    return sorted(rows, key=lambda row: -row.pearson)


def measured(
    predictions: Sequence[Prediction], clusters: dict[tuple[str, str], int], draws: BootstrapDraws
) -> tuple[float, np.ndarray, float]:
    """Macro Pearson, its values over the draws, and the macro mean squared error of one run."""
    keys = dict.fromkeys(one.dimension for one in predictions)
    answers = [
        dimension_arrays(key, [one for one in predictions if one.dimension == key], clusters)
        for key in keys
    ]
    over = np.mean([Pearson().over_draws(one, draws) for one in answers], axis=0)
    pearson = float(np.mean([Pearson()(one) for one in answers]))
    return pearson, over, float(np.mean([MeanSquaredError()(one) for one in answers]))


def _row(
    cell: Cell,
    runs: Mapping[int, Finished],
    values: Sequence[tuple[float, np.ndarray, float]],
    base: Sequence[tuple[float, np.ndarray, float]],
) -> Row:
    pearson = [one[0] for one in values]
    over = np.mean([one[1] for one in values], axis=0)
    base_over = np.mean([one[1] for one in base], axis=0)
    calibration = [run.metrics["test"]["final"]["macro"].get(CALIBRATION) for run in runs.values()]
    known = [one for one in calibration if one is not None]
    return Row(
        cell=cell,
        seeds=tuple(sorted(runs)),
        pearson=float(np.mean(pearson)),
        pearson_interval=interval(over, LEVEL),
        between_seeds=float(np.std(pearson, ddof=1)) if len(pearson) > 1 else float("nan"),
        mse=float(np.mean([one[2] for one in values])),
        calibration=float(np.mean(known)) if len(known) == len(calibration) else None,
        gain=float(np.mean(pearson) - np.mean([one[0] for one in base])),
        gain_interval=None if cell == BASE else interval(over - base_over, LEVEL),
    )


CALIBRATION = "ece"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| labels | objective | head | macro PCC [95 %] | SD of seeds | MSE | calibration error | "
        "gain over the published recipe [95 %] |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        labels, objective, head = row.cell
        mark = "**" if row.cell == BASE else ""
        gain = "baseline" if row.cell == BASE else f"{row.gain:+.3f}{limits(row.gain_interval)}"
        calibration = "-" if row.calibration is None else f"{row.calibration:.3f}"
        lines.append(
            f"| {mark}{labels}{mark} | {mark}{objective}{mark} | {head} | "
            f"{row.pearson:.3f}{limits(row.pearson_interval)} | {row.between_seeds:.3f} | {row.mse:.3f} | "
            f"{calibration} | {gain} |"
        )
    return "\n".join(lines)


def limits(found: Sequence[float] | None) -> str:
    """An interval as text behind its estimate; empty if there is none."""
    return "" if found is None else f" [{found[0]:.3f}, {found[1]:.3f}]"


def document(rows: Sequence[Row], runs: Sequence[Finished], command_lines: Sequence[str]) -> str:
    """The text of the page: the commands and the table."""
    best = rows[0]
    seeds = ", ".join(map(str, best.seeds))
    length = (
        f"{runs[0].steps} steps each" if runs[0].steps > 0 else "three epochs each (the default)"
    )
    parts = [
        "# Label policy × objective" + ("" if runs[0].steps > 0 else ", at full length"),
        "",
        f"{len(runs)} runs on the bundled sample, {length} from the same weights, with the seeds "
        f"{seeds} and otherwise the default settings. Figures are means over the seeds on the test split. Intervals "
        f"are {LEVEL:.0%} percentile intervals of {DRAWS:,} bootstrap draws that resample characters; all runs have the "
        "same draws. The published recipe is in bold; it is the baseline of the gains.",
        "",
        "```bash",
        *command_lines,
        "```",
        "",
        table(rows),
        "",
        f"The best combination is {best.cell[0]} with {best.cell[1]} ({best.cell[2]} head): "
        f"{best.gain:+.3f}{limits(best.gain_interval)} macro PCC over the published recipe with the same number of steps.",
        "",
    ]
    return "\n".join(parts)


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--whole", action="store_true", help="finalists at full length")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--into")
    parser.add_argument(
        "--override", action="append", default=[], help="for every run, e.g. peft=none"
    )
    parser.add_argument("--labels", default=",".join(LABELS))
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    given = parser.parse_args(arguments)
    folders = given.folders
    name = "objectives_at_full_length" if given.whole else "labels_and_objectives"
    out = given.out or ROOT / "docs" / f"{name}.md"
    into = given.into or f"multirun_outputs/{name}"
    sweeps = (
        whole(into, given.seeds, given.override)
        if given.whole
        else commands(
            into,
            given.steps,
            given.seeds,
            given.override,
            given.labels.split(","),
            given.objectives.split(","),
        )
    )
    if not folders:
        for words in sweeps:
            subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
        # Relative to where launch.py was started.
        folders = [ROOT / into]
    runs = finished(folders)
    if not runs:
        sys.exit(f"No finished run below {', '.join(map(str, folders))}.")
    command_lines = [f"python {shlex.join(words)}" for words in sweeps]
    rows = rows_of(runs)
    write_with_remarks(out, document(rows, runs, command_lines))
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
