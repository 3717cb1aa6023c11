"""Trains judges of pairs in several ways on the same clips, and writes docs/real_pairs.md.

    python -m benchmarks.real_pairs REAL JUDGES                    # everything, hours on 2 cores
    python -m benchmarks.real_pairs REAL JUDGES --only archetype   # experiments whose names begin so
    python -m benchmarks.real_pairs REAL JUDGES --page             # the page alone, from finished runs
    python -m benchmarks.real_pairs REAL JUDGES --steps 4 --records 40 --seeds 1 --folder /tmp/proof   # a test, no page

REAL and JUDGES are the folders of `benchmarks.real_speech`. Each experiment trains a judge with one command of
launch.py and compares the pairs of `test` with a second one, which the page shows. Finished runs are kept, and the
page keeps the rows of experiments whose run folders are gone: they are in docs/real_pairs.json.

On the bundled archetype sample the clips of a pair answer one prompt. In speechocean762 every sentence occurs once, so
that the two clips of a pair are of different speakers of one age and have different sentences; the prompts hold no texts,
and the mean ratings differ by one score or more.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import interval_text, mean_text, write_with_remarks
from benchmarks.real_pairs_experiments import (
    CORPORA,
    FIRST,
    Experiment,
    commands,
    experiments,
    run_folders,
)
from dramaeval.config.schema import PACKAGE
from dramaeval.evaluation.bootstrap import bootstrap_draws, interval
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_arrays import pair_arrays, pair_clusters
from dramaeval.evaluation.pairs.pair_metrics import PAIR_METRICS, pair_value, pair_values_over_draws
from dramaeval.stages.predictions_file import read_phase

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "real_pairs.md"
METRICS = ("accuracy_untied", "accuracy", "cross_entropy")
DRAWS, LEVEL = 2_000, 0.95


def prepare(given: argparse.Namespace) -> None:
    """Write the folder for ``--config-dir`` with the rubrics and, for a test, the first records of each split."""
    rubrics = given.folder / "configs" / "task" / "rubric"
    rubrics.mkdir(parents=True, exist_ok=True)
    for file in (given.real / "rubric").glob("*.yaml"):
        (rubrics / file.name).write_bytes(file.read_bytes())
    for corpus in CORPORA if given.records else ():
        folder = given.folder / corpus.name
        folder.mkdir(exist_ok=True)
        for split in ("train", "val", "test"):
            source = Path(corpus.folder.format(real=given.real)) / f"{split}.jsonl"
            lines = source.read_text("utf-8").splitlines(keepends=True)[: given.records]
            (folder / source.name).write_text("".join(lines), "utf-8")


def chosen(given: argparse.Namespace) -> Iterator[Experiment]:
    """The experiments that ``--only`` names."""
    for experiment in experiments():
        if not given.only or experiment.name.startswith(tuple(given.only)):
            yield experiment


def measure(given: argparse.Namespace) -> None:
    """Run what is not finished."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    for seed in range(given.seeds):
        for experiment in chosen(given):
            trained, compared = run_folders(experiment, seed, given.folder)
            for words, done in zip(
                commands(experiment, seed, given),
                (
                    (trained / "model" / "judge.yaml").is_file() or _metrics(compared),
                    _metrics(compared),
                ),
                strict=True,
            ):
                if not done:
                    print("python", shlex.join(words), flush=True)
                    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True)


def _metrics(folder: Path) -> dict[str, Any] | None:
    file = folder / "metrics.json"
    if not file.is_file():
        return None
    figures: dict[str, Any] = json.loads(file.read_text("utf-8"))["pairs"]["test"]
    return figures[list(figures)[-1]]


def _predictions(folder: Path) -> list[PairPrediction]:
    file = folder / "predictions.jsonl"
    if not file.is_file():
        file = folder / "predictions.zero_shot.jsonl"
    return read_phase(file).pairs["test"]


@dataclass(frozen=True)
class Rows:
    """The cells of an experiment in the two tables of the page.

    Attributes:
        figures: of the first table.
        difference: of the second table; None for the way that the others are compared with, and where it has no run.
    """

    figures: list[str]
    difference: list[str] | None


def measured(given: argparse.Namespace) -> dict[str, Rows]:
    """The rows of each experiment with finished runs, by name."""
    finished = {each.name: _finished(each, given) for each in experiments()}
    return {
        each.name: Rows(
            _figures(each, finished[each.name]),
            _difference(each, finished[each.name], finished[f"{each.corpus.name}: {FIRST}"]),
        )
        for each in experiments()
        if finished[each.name]
    }


def page(rows: dict[str, Rows]) -> str:
    """The tables, and the commands of their runs.

    Args:
        rows: see `measured`.
    """
    known = [each for each in experiments() if each.name in rows]
    figures = [rows[each.name].figures for each in known]
    differences = [cells for each in known if (cells := rows[each.name].difference)]
    return "\n".join(
        [
            "# Pairs of real clips",
            "",
            "Written by `python -m benchmarks.real_pairs`. Judges trained on comparisons of clips, on ratings of "
            "single clips, and on both, and compared on the same pairs of `test`, which are derived from the ratings. "
            "Figures are means over the seeds and over the dimensions, with the 95 % interval of this mean in "
            "brackets. The interval comes from a bootstrap of prompts on the archetype sample. In speechocean762 every "
            "sentence occurs once: the clips of a pair are of two speakers of one age, with other sentences and no "
            "texts in the prompt, and each pair is a cluster of its own. A clip is in several pairs there, so that "
            "these intervals are too narrow.",
            "",
            "`raters` is the accuracy of each vote against the other votes of the same pair, and `judge against raters` "
            "that of the judge against the same votes.",
            "",
            "| experiment | seeds | accuracy without ties | between seeds | accuracy | cross-entropy | raters | "
            "judge against raters | position bias | pairs |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(f"| {' | '.join(cells)} |" for cells in figures),
            "",
            f"## Differences from {FIRST}",
            "",
            "The mean over the seeds and its interval, from the same draws for both ways. The intervals are over prompts; "
            "how much the seeds differ is in the table above.",
            "",
            "| experiment | seeds | accuracy without ties | accuracy | cross-entropy |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(f"| {' | '.join(cells)} |" for cells in differences),
            "",
            "## Commands",
            "",
            "```bash",
            *(command for each in known for command in _shown_commands(each)),
            "```",
            "",
        ]
    )


def _figures(experiment: Experiment, finished: dict[int, Path]) -> list[str]:
    macros = [_metrics(folder)["macro"] for folder in finished.values()]  # type: ignore[index]  # finished
    main = [macro["accuracy_untied"] for macro in macros]
    ceiling = macros[0]["ceiling"]
    means = over_seeds([_predictions(folder) for folder in finished.values()])
    cells = [
        experiment.name, len(macros), f"{mean_text(main)} {interval_text(interval(means['accuracy_untied'][1], LEVEL))}",
        f"{np.std(main, ddof=1):.3f}" if len(main) > 1 else "-", mean_text([m["accuracy"] for m in macros]),
        mean_text([m["cross_entropy"] for m in macros]), mean_text([ceiling["accuracy_untied"]]),
        mean_text([m["ceiling"]["judge_accuracy_untied"] for m in macros]),
        mean_text([m["position_bias"] for m in macros]), macros[0]["pairs"],
    ]  # fmt: skip
    return list(map(str, cells))


def _finished(experiment: Experiment, given: argparse.Namespace) -> dict[int, Path]:
    """The folders of the comparisons that are finished, by seed."""
    folders = {seed: run_folders(experiment, seed, given.folder)[1] for seed in range(given.seeds)}
    return {seed: folder for seed, folder in folders.items() if _metrics(folder)}


def _difference(
    experiment: Experiment, own: dict[int, Path], first: dict[int, Path]
) -> list[str] | None:
    seeds = [seed for seed in own if seed in first]
    if experiment.way == FIRST or not seeds:
        return None
    ours, theirs = (
        over_seeds([_predictions(folders[seed]) for seed in seeds]) for folders in (own, first)
    )
    cells = [experiment.name, str(len(seeds))]
    for name in METRICS:
        difference, draws = ours[name][0] - theirs[name][0], ours[name][1] - theirs[name][1]
        cells.append(f"{difference:+.3f} {interval_text(interval(draws, LEVEL))}")
    return cells


def over_seeds(runs: list[list[PairPrediction]]) -> dict[str, tuple[float, np.ndarray]]:
    """Each metric of `METRICS`, averaged over dimensions and runs: its value, and its values in draws of prompts.

    Args:
        runs: the predictions of several judges for the same pairs.
    """
    clusters = pair_clusters(runs[0])
    draws = bootstrap_draws(len(clusters), DRAWS, 0)
    metrics = {name: PAIR_METRICS[name] for name in METRICS}
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    for predictions in runs:
        for key in dict.fromkeys(p.dimension for p in predictions):
            arrays = pair_arrays([p for p in predictions if p.dimension == key], clusters)
            in_draws = pair_values_over_draws(metrics, arrays, draws)
            for name, metric in metrics.items():
                values[name].append(pair_value(metric, arrays))
                drawn[name].append(in_draws[name])
    return {name: (float(np.mean(values[name])), np.mean(drawn[name], axis=0)) for name in METRICS}


def _shown_commands(experiment: Experiment) -> Iterator[str]:
    places = argparse.Namespace(
        real=Path("REAL"), judges=Path("JUDGES"), folder=Path("RUNS"), records=None, steps=None
    )
    for words in commands(experiment, 0, places):
        yield f"python {shlex.join(words)}".replace(str(PACKAGE), "dramaeval")


def main() -> None:
    """Run the experiments and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path)
    parser.add_argument("judges", type=Path)
    parser.add_argument("--only", nargs="+", help="first letters of the names of experiments")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--steps", type=int, help="a test: this number of training steps")
    parser.add_argument("--records", type=int, help="a test: the first records of each split")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "real_pairs")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    given = parser.parse_args()
    for name in ("real", "judges", "folder"):
        setattr(given, name, getattr(given, name).resolve())
    if not given.page:
        prepare(given)
        measure(given)
    rows = measured(given)
    if given.steps or given.records:
        print(page(rows))
        return
    file = PAGE.with_suffix(".json")
    kept = {name: Rows(**cells) for name, cells in json.loads(file.read_text("utf-8")).items()}
    rows = {**kept, **rows}
    text = json.dumps({name: asdict(each) for name, each in rows.items()}, indent=1)
    file.write_text(text + "\n", encoding="utf-8")
    write_with_remarks(PAGE, page(rows))


if __name__ == "__main__":
    main()
