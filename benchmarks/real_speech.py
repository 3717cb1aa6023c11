"""Trains judges of real weights on real ratings, and writes docs/real_speech.md.

    python -m benchmarks.real_speech REAL JUDGES                   # everything, about a day on 2 cores
    python -m benchmarks.real_speech REAL JUDGES --only small      # experiments whose names begin so
    python -m benchmarks.real_speech REAL JUDGES --page            # the page alone, from finished runs

REAL is the folder with `speechocean762/`, `emodb/` and `rubric/`; JUDGES the folder that its `build_judge.py` wrote. Each
run is one command of launch.py, which the page shows. Finished runs are kept, and interrupted ones continue.

Training reads `train`, the best checkpoint is chosen on `val`, and figures are those of `test`. Controls are computed in
the first seed's run: the encoder probe is a ridge on the same encoder's outputs, fitted on the same training clips.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.page import interval_text, mean_text, write_with_remarks

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "real_speech.md"
CONTROLS = ("encoder_probe", "duration", "silence")
SPLITS = ("train", "val", "test")
EXPERTS = [f"expert{number}" for number in range(1, 6)]
SHARES = (16, 8, 4, 2)
"""The learning curve trains on every 16th, 8th, 4th, 2nd training clip."""

SMALL = (
    "model=qwen2_audio", "model.path={judges}/judge-whisper-base-tiny", "peft=none", "model.freeze_audio=true",
    "batch.per_device=8", "trainer.args.learning_rate=2e-3", "trainer.args.num_train_epochs=1",
)  # fmt: skip
LARGE = (
    "model=composed", "model.audio={judges}/judge-whisper-base-tiny", "model.text={judges}/smollm2-135m-instruct",
    "model.freeze_audio=true", "batch.per_device=8", "trainer.args.num_train_epochs=1",
)  # fmt: skip
COMMON = ("task=role", "evaluation.html=false", "logger=none", "cache.folder={runs}/cache")


@dataclass(frozen=True)
class Experiment:
    """One training and evaluation, repeated with several seeds.

    Attributes:
        name: of its row and of its run folders.
        overrides: of launch.py, with `{judges}` and `{runs}` for folders.
        corpus: folder of the records in REAL.
        rubric: of the questions.
        share: one of this many training clips is used.
        seeds: number of seeds.
        controls: whether the first seed's run is compared with controls.
        trains: whether it trains; otherwise it evaluates another run's judge.
    """

    name: str
    overrides: tuple[str, ...]
    corpus: str = "speechocean762"
    rubric: str = "so762"
    share: int = 1
    seeds: int = 3
    controls: bool = False
    trains: bool = True

    @property
    def names_raters(self) -> bool:
        """Whether its records need the names of raters: in speechocean762 position k is always the same expert."""
        return "task.listeners=embed" in self.overrides


def experiments() -> list[Experiment]:
    """All experiments, in the order in which they run: a judge is trained before it is transferred."""
    listed = [
        Experiment("small", SMALL, controls=True),
        Experiment("composed", (*LARGE, "peft=none", "trainer.args.learning_rate=2e-4"), controls=True, seeds=1),
        Experiment("composed, LoRA", (*LARGE, "peft=lora", "trainer.args.learning_rate=5e-4"), seeds=1),
        Experiment("small, EMO-DB", SMALL, "emodb", "emodb", controls=True),
    ]  # fmt: skip
    listed += [Experiment(f"small, 1/{share} of the clips", SMALL, share=share) for share in SHARES]
    recipes = {
        "published recipe": ("task.labels=sample", "trainer.objective=answer_ce"),
        "soft_ce": ("trainer.objective=soft_ce",),
        "mean, expected_mse": ("task.labels=mean", "trainer.objective=expected_mse"),
        "expected_mse": ("trainer.objective=expected_mse",),
        "criteria first": ("task.prompt_layout=criteria_first",),
        "augment=light": ("task.augment=light",),
        "augment=strong": ("task.augment=strong",),
        "listeners=embed": ("task.listeners=embed",),
    }
    listed += [Experiment(f"small, {name}", (*SMALL, *more)) for name, more in recipes.items()]
    transferred = "checkpoint_override=true"
    return [
        *listed,
        Experiment(
            "speechocean762 to EMO-DB", ("checkpoint={runs}/small.0", transferred),
            "emodb", "emodb", seeds=1, trains=False,
        ),
        Experiment(
            "EMO-DB to speechocean762", ("checkpoint={runs}/small_EMO-DB.0", transferred), seeds=1, trains=False,
        ),
    ]  # fmt: skip


def command(experiment: Experiment, seed: int, real: Path, judges: Path, runs: Path) -> list[str]:
    """The arguments of `python` for one run."""
    folder = real / experiment.corpus
    files = {split: folder / f"{split}.jsonl" for split in SPLITS}
    if experiment.share > 1:
        files["train"] = runs / f"{experiment.corpus}.{experiment.share}.jsonl"
    if experiment.names_raters:
        files = {split: runs / f"{experiment.corpus}.raters.{split}.jsonl" for split in SPLITS}
    stages = ["train", "evaluate"] if experiment.trains else ["evaluate"]
    if experiment.controls and seed == 0:
        stages.append("controls")
    return [
        "launch.py", f"--config-dir={runs / 'configs'}",  # argparse reads options before the overrides alone
        f"stages=[{','.join(stages)}]", f"evaluation.controls=[{','.join(CONTROLS)}]",
        f"task/rubric={experiment.rubric}",
        *(f"task.data.{split}={file}" for split, file in files.items()), f"task.data.audio_root={folder}", f"seed={seed}",
        *(word.format(judges=judges, runs=runs) for word in (*COMMON, *experiment.overrides)),
        f"hydra.run.dir={run_folder(experiment, seed, runs)}",
    ]  # fmt: skip


def run_folder(experiment: Experiment, seed: int, runs: Path) -> Path:
    """The folder of one run."""
    name = "".join(c if c.isalnum() or c in "-." else "_" for c in experiment.name)
    return runs / f"{'_'.join(filter(None, name.split('_')))}.{seed}"


def prepare(real: Path, runs: Path) -> None:
    """Write the folder for ``--config-dir`` with the corpora's rubrics, the parts of the training clips, and named raters.

    A part has the first records of a random order that is the same for all parts.
    """
    rubrics = runs / "configs" / "task" / "rubric"
    rubrics.mkdir(parents=True, exist_ok=True)
    for file in (real / "rubric").glob("*.yaml"):
        (rubrics / file.name).write_bytes(file.read_bytes())
    for corpus, share in {(each.corpus, each.share) for each in experiments() if each.share > 1}:
        lines = (real / corpus / "train.jsonl").read_text("utf-8").splitlines()
        order = np.random.default_rng(0).permutation(len(lines))
        chosen = sorted(order[: len(lines) // share].tolist())
        part = "".join(lines[index] + "\n" for index in chosen)
        (runs / f"{corpus}.{share}.jsonl").write_text(part, "utf-8")
    for corpus in {each.corpus for each in experiments() if each.names_raters}:
        for split in SPLITS:
            lines = (real / corpus / f"{split}.jsonl").read_text("utf-8").splitlines()
            named = "".join(
                json.dumps(json.loads(line) | {"raters": EXPERTS}) + "\n" for line in lines
            )
            (runs / f"{corpus}.raters.{split}.jsonl").write_text(named, "utf-8")


def measure(given: argparse.Namespace) -> None:
    """Run what is not finished."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    for experiment in experiments():
        if given.only and not experiment.name.startswith(tuple(given.only)):
            continue
        for seed in range(min(experiment.seeds, given.seeds)):
            words = command(experiment, seed, given.real, given.judges, given.folder)
            if _metrics(experiment, seed, given.folder):
                continue
            print("python", shlex.join(words), flush=True)
            subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True)


def _metrics(experiment: Experiment, seed: int, runs: Path) -> dict[str, Any] | None:
    file = run_folder(experiment, seed, runs) / "metrics.json"
    if not file.is_file():
        return None
    metrics: dict[str, Any] = json.loads(file.read_text("utf-8"))
    if experiment.controls and seed == 0 and "controls" not in metrics:
        return None
    return metrics


def page(given: argparse.Namespace) -> str:
    """The tables of the finished runs, and their commands."""
    return "\n".join(
        [
            "# Real speech, rated by real people",
            "",
            "Written by `python -m benchmarks.real_speech`. Pearson correlation with the mean rating on `test`: the mean "
            "over the seeds, and in brackets the 95 % interval of the first seed, from a bootstrap of speakers.",
            "",
            *_table(given.folder),
            "",
            "## Judge against controls",
            "",
            *_controls(given.folder),
            "",
            "## Commands",
            "",
            "```bash",
            *_commands(given),
            "```",
            "",
        ]
    )


def _table(runs: Path) -> Iterator[str]:
    yield "| experiment | seeds | by dimension | macro | between seeds | ceiling | before training |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | ---: |"
    for experiment in experiments():
        found = [_metrics(experiment, seed, runs) for seed in range(experiment.seeds)]
        finished = [metrics["test"] for metrics in found if metrics]
        if not finished:
            continue
        final = [phases["final"] for phases in finished]
        macros = [phase["macro"]["pearson"] for phase in final]
        dimensions = ", ".join(
            f"{key} {mean_text([phase['dimensions'][key]['pearson'] for phase in final])}"
            for key in final[0]["dimensions"]
        )
        before = finished[0].get("zero_shot")
        ceiling = final[0]["macro"].get("ceiling") or {}
        cells = [
            experiment.name, len(final), dimensions,
            f"{mean_text(macros)} {interval_text(final[0]['macro']['interval']['pearson'])}",
            f"{np.std(macros, ddof=1):.3f}" if len(macros) > 1 else "-",
            mean_text([ceiling.get("pearson")]), mean_text([before["macro"]["pearson"]]) if before else "-",
        ]  # fmt: skip
        yield "| " + " | ".join(map(str, cells)) + " |"


def _controls(runs: Path) -> Iterator[str]:
    yield "| experiment | control | control's macro | gain of the judge |"
    yield "| --- | --- | ---: | ---: |"
    for experiment in experiments():
        metrics = _metrics(experiment, 0, runs) if experiment.controls else None
        for name, control in (metrics or {}).get("controls", {}).get("test", {}).items():
            gain = (control["gain"] or {}).get("macro", {}).get("pearson")
            if gain:
                value = f"{gain['difference']:+.3f} {interval_text(gain['interval'])}"
                yield f"| {experiment.name} | {name} | {gain['b']:.3f} | {value} |"


def _commands(given: argparse.Namespace) -> Iterator[str]:
    for experiment in experiments():
        if _metrics(experiment, 0, given.folder):
            words = command(experiment, 0, Path("REAL"), Path("JUDGES"), Path("RUNS"))
            yield f"python {shlex.join(words)}"


def main() -> None:
    """Run the experiments and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path)
    parser.add_argument("judges", type=Path)
    parser.add_argument("--only", nargs="+", help="first letters of the names of experiments")
    parser.add_argument("--seeds", type=int, default=3, help="largest number of seeds")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "real_speech")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    given = parser.parse_args()
    for name in ("real", "judges", "folder"):
        setattr(given, name, getattr(given, name).resolve())
    if not given.page:
        prepare(given.real, given.folder)
        measure(given)
    write_with_remarks(PAGE, page(given))


if __name__ == "__main__":
    main()
