"""Trains judges of real weights on real ratings, and writes docs/real_speech.md.

    python -m benchmarks.real_speech REAL JUDGES                   # everything, about a day on 2 cores
    python -m benchmarks.real_speech REAL JUDGES --only small      # experiments whose names begin so
    python -m benchmarks.real_speech REAL JUDGES --page            # the page alone, from finished runs

REAL is the folder with `speechocean762/`, `emodb/` and `rubric/`; JUDGES the folder that its `build_judge.py` wrote. Each
run is one command of launch.py, which the page shows. Finished runs are kept, and interrupted ones continue. The page keeps
the rows of experiments whose run folders are gone: they are in docs/real_speech.json.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.labels_and_objectives import DRAWS, LEVEL
from benchmarks.labels_and_objectives import measured as correlation
from benchmarks.page import interval_text, mean_text, write_with_remarks
from benchmarks.real_speech_data import (
    RAW,
    SHORT,
    SPLITS,
    write_noisy_copy,
    write_part,
    write_rubrics,
    write_variant,
)
from dramaeval.evaluation.bootstrap import bootstrap_draws, interval
from dramaeval.evaluation.dimension_arrays import cluster_names
from dramaeval.stages.predictions_file import read_phase

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "real_speech.md"
CONTROLS = ("encoder_probe", "duration", "silence")
SHARES = (16, 8, 4, 2)
"""The learning curve trains on every 16th, 8th, 4th, 2nd training clip."""

SMALL = (
    "model=qwen2_audio", "model.path={judges}/judge-whisper-base-tiny", "peft=none", "model.freeze_audio=true",
    "batch.per_device=8", "trainer.args.learning_rate=2e-3", "trainer.args.num_train_epochs=1",
)  # fmt: skip
LARGE = (
    "experiment=composed", "model.audio={judges}/judge-whisper-base-tiny",
    "model.text={judges}/smollm2-135m-instruct", "trainer.args.bf16=true", "batch.per_device=null",
    "batch.max_tokens=2300", "trainer.args.eval_steps=0.5", "trainer.args.save_steps=0.5",
)  # fmt: skip
COMMON = ("task=role", "evaluation.html=false", "logger=none", "cache.folder={runs}/cache")


@dataclass(frozen=True)
class Experiment:
    """One training and evaluation, repeated with several seeds.

    Attributes:
        name: of its row and of its run folders.
        overrides: of launch.py, with `{judges}` and `{runs}` for folders, and `{seed}`.
        corpus: folder of the records in REAL.
        rubric: of the questions.
        share: one of this many training clips is used.
        seeds: number of seeds.
        controls: what the first seed's run is compared with.
        zero_shot: whether the first seed's judge is scored before its training.
        trains: whether it trains; otherwise it evaluates another run's judge.
        noisy: whether the test clips are those of `write_noisy_copy`.
    """

    name: str
    overrides: tuple[str, ...]
    corpus: str = "speechocean762"
    rubric: str = "so762"
    share: int = 1
    seeds: int = 3
    controls: tuple[str, ...] = ()
    zero_shot: bool = False
    trains: bool = True
    noisy: bool = False

    @property
    def variant(self) -> str:
        """The variant of its records, a key of `real_speech_data.VARIANTS`; empty for the records of REAL."""
        if "task.listeners=embed" in self.overrides:
            return "raters"
        return "raw" if self.rubric == RAW else ""

    @property
    def tested_on(self) -> tuple[str, bool, bool]:
        """Experiments with equal values have the same test clips and the same scale: they can be compared."""
        return self.corpus, self.noisy, self.variant == "raw"


def experiments() -> list[Experiment]:
    """All experiments, in the order in which they run: a judge is trained before it is transferred."""
    listed = [
        Experiment("small", SMALL, controls=CONTROLS, zero_shot=True),
        Experiment("small, scores of 0-10", SMALL, rubric=RAW, controls=CONTROLS, zero_shot=True),
        Experiment("composed", LARGE, rubric=SHORT, controls=CONTROLS[:2], seeds=1),
        Experiment(
            "composed, LoRA", (*LARGE, "peft=lora", "trainer.args.learning_rate=1e-3"), rubric=SHORT, seeds=1,
            zero_shot=True,
        ),
        Experiment("composed, soft_ce", (*LARGE, "trainer.objective=soft_ce"), rubric=SHORT, seeds=1),
        Experiment("small, short rubric", SMALL, rubric=SHORT),
        # Four actors are too few to resample: intervals by clip.
        Experiment("small, EMO-DB", (*SMALL, "evaluation.group_by=id"), "emodb", "emodb", controls=CONTROLS, zero_shot=True),
    ]  # fmt: skip
    listed += [Experiment(f"small, 1/{share} of the clips", SMALL, share=share) for share in SHARES]
    recipes = {
        "audio trained": ("model.freeze_audio=false", "trainer.learning_rates.audio=1e-4"),
        "published recipe": ("task.labels=sample", "trainer.objective=answer_ce"),
        "soft_ce": ("trainer.objective=soft_ce",),
        "mean, expected_mse": ("task.labels=mean", "trainer.objective=expected_mse"),
        "expected_mse": ("trainer.objective=expected_mse",),
        "criteria first": ("task.prompt_layout=criteria_first",),
        "rubric first": ("task.prompt_layout=rubric_first",),
        "augment=light": ("task.augment=light",),
        "augment=strong": ("task.augment=strong",),
        "listeners=embed": ("task.listeners=embed",),
    }
    listed += [Experiment(f"small, {name}", (*SMALL, *more)) for name, more in recipes.items()]
    transferred = "checkpoint_override=true"
    for name in ("small", "small, augment=light", "small, augment=strong"):
        judge = f"checkpoint={{runs}}/{_folder_name(name)}.{{seed}}"
        listed.append(
            Experiment(f"{name}, noisy test clips", (judge, transferred), trains=False, noisy=True)
        )
    return [
        *listed,
        Experiment(
            "speechocean762 to EMO-DB", ("checkpoint={runs}/small.0", transferred, "evaluation.group_by=id"),
            "emodb", "emodb", seeds=1, trains=False,
        ),
        Experiment(
            "EMO-DB to speechocean762", ("checkpoint={runs}/small_EMO-DB.0", transferred), seeds=1, trains=False,
        ),
    ]  # fmt: skip


def command(experiment: Experiment, seed: int, real: Path, judges: Path, runs: Path) -> list[str]:
    """The arguments of `python` for one run."""
    folder = real / experiment.corpus
    files: dict[str, Path | str] = {split: folder / f"{split}.jsonl" for split in SPLITS}
    if experiment.share > 1:
        files["train"] = runs / f"{experiment.corpus}.{experiment.share}.jsonl"
    if experiment.variant:
        name = f"{experiment.corpus}.{experiment.variant}"
        files = {split: runs / f"{name}.{split}.jsonl" for split in SPLITS}
    if experiment.noisy:
        files = {"train": "null", "val": "null", "test": runs / "noisy" / "test.jsonl"}
    stages = ["train", "evaluate"] if experiment.trains else ["evaluate"]
    if experiment.controls and seed == 0:
        stages.append("controls")
    zero_shot = experiment.zero_shot and seed == 0
    return [
        "launch.py", f"--config-dir={runs / 'configs'}",  # argparse reads options before the overrides alone
        f"stages=[{','.join(stages)}]", f"evaluation.controls=[{','.join(experiment.controls)}]",
        f"evaluation.zero_shot={'true' if zero_shot else 'false'}",
        f"task/rubric={experiment.rubric}",
        *(f"task.data.{split}={file}" for split, file in files.items()), f"task.data.audio_root={folder}", f"seed={seed}",
        *(word.format(judges=judges, runs=runs, seed=seed) for word in (*COMMON, *experiment.overrides)),
        f"hydra.run.dir={run_folder(experiment, seed, runs)}",
    ]  # fmt: skip


def run_folder(experiment: Experiment, seed: int, runs: Path) -> Path:
    """The folder of one run."""
    return runs / f"{_folder_name(experiment.name)}.{seed}"


def _folder_name(name: str) -> str:
    plain = "".join(c if c.isalnum() or c in "-." else "_" for c in name)
    return "_".join(filter(None, plain.split("_")))


def prepare(real: Path, runs: Path) -> None:
    """Write the folder for ``--config-dir`` with the rubrics, the parts of the training clips, and changed records."""
    write_rubrics(real / "rubric", runs / "configs" / "task" / "rubric")
    for corpus, share in {(each.corpus, each.share) for each in experiments() if each.share > 1}:
        write_part(real / corpus / "train.jsonl", share, runs / f"{corpus}.{share}.jsonl")
    for corpus, variant in {(each.corpus, each.variant) for each in experiments() if each.variant}:
        for split in SPLITS:
            changed = runs / f"{corpus}.{variant}.{split}.jsonl"
            write_variant(real / corpus / f"{split}.jsonl", variant, changed)


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
            if experiment.noisy:
                write_noisy_copy(given.real / experiment.corpus, given.folder / "noisy")
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


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the page says about an experiment; its run folders may be gone.

    Attributes:
        judge: its line in the table of judges.
        controls: its lines in the table of controls.
    """

    judge: list[str]
    controls: list[list[str]]


def measured(runs: Path) -> dict[str, Rows]:
    """The figures of every experiment that has finished runs, by its name."""
    listed = experiments()
    rows = {}
    for experiment in listed:
        first = next(each for each in listed if each.tested_on == experiment.tested_on)
        folders, bases = _finished(experiment, runs), _finished(first, runs)
        if folders:
            shared = sorted(set(folders) & set(bases)) if first is not experiment else []
            pairs = [(folders[seed], bases[seed]) for seed in shared]
            rows[experiment.name] = Rows(
                judge=_judge(experiment.name, list(folders.values()), pairs),
                controls=_controls(experiment, runs),
            )
    return rows


def _finished(experiment: Experiment, runs: Path) -> dict[int, Path]:
    """The folders of the finished runs by their seeds."""
    return {
        seed: run_folder(experiment, seed, runs)
        for seed in range(experiment.seeds)
        if _metrics(experiment, seed, runs)
    }


def _judge(name: str, folders: list[Path], pairs: list[tuple[Path, Path]]) -> list[str]:
    tests = [json.loads((each / "metrics.json").read_text("utf-8"))["test"] for each in folders]
    final = [phases["final"] for phases in tests]
    dimensions = ", ".join(
        f"{key} {mean_text([phase['dimensions'][key]['pearson'] for phase in final])}"
        for key in final[0]["dimensions"]
    )
    macros, over = _over_seeds(folders)
    vals = [_macro(each, "val") for each in folders]
    before = next((phases["zero_shot"] for phases in tests if "zero_shot" in phases), None)
    ceiling = final[0]["macro"].get("ceiling") or {}
    gain = "-"
    if pairs:
        own, own_over = _over_seeds([each for each, _ in pairs])
        base, base_over = _over_seeds([each for _, each in pairs])
        difference = float(np.mean(own) - np.mean(base))
        gain = f"{difference:+.3f} {interval_text(interval(own_over - base_over, LEVEL))}"
    return [
        name, str(len(folders)), dimensions, f"{mean_text(macros)} {interval_text(interval(over, LEVEL))}",
        f"{np.std(macros, ddof=1):.3f}" if len(macros) > 1 else "-", mean_text(vals), gain,
        mean_text([ceiling.get("pearson")]), mean_text([before["macro"]["pearson"]]) if before else "-",
    ]  # fmt: skip


def _over_seeds(folders: list[Path]) -> tuple[list[float], np.ndarray]:
    """The macro correlation of each run on `test`, and its mean over the runs in draws of speakers.

    The draws are the same for all runs over the same records, so that differences of runs are paired.
    """
    runs = [read_phase(each / "predictions.jsonl").ratings["test"] for each in folders]
    clusters = cluster_names(each for each in runs[0] if each.mean_rating is not None)
    draws = bootstrap_draws(len(clusters), DRAWS, 0)
    values = [correlation(predictions, clusters, draws) for predictions in runs]
    return [each[0] for each in values], np.mean([each[1] for each in values], axis=0)


def _macro(folder: Path, split: str) -> float | None:
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    found = metrics.get(split, {}).get("final")
    return found["macro"]["pearson"] if found else None


def _controls(experiment: Experiment, runs: Path) -> list[list[str]]:
    rows = []
    metrics = _metrics(experiment, 0, runs) if experiment.controls else None
    for name, control in (metrics or {}).get("controls", {}).get("test", {}).items():
        gain = (control["gain"] or {}).get("macro", {}).get("pearson")
        if gain:
            value = f"{gain['difference']:+.3f} {interval_text(gain['interval'])}"
            rows.append([experiment.name, name, f"{gain['b']:.3f}", value])
    return rows


def page(rows: dict[str, Rows]) -> str:
    """The tables and the commands."""
    found = [(each, rows[each.name]) for each in experiments() if each.name in rows]
    return "\n".join(
        [
            "# Real speech, rated by real people",
            "",
            "Written by `python -m benchmarks.real_speech`. Pearson correlation with the mean rating on `test`: the mean "
            "over the seeds, and in brackets the 95 % interval of this mean, from a bootstrap of speakers. `val`: the mean "
            "over the seeds of the correlation on the validation clips. The gain compares with the first experiment on the "
            "same ratings, same seeds and same draws of speakers.",
            "",
            "| experiment | seeds | by dimension | macro | between seeds | val | gain | ceiling | before training |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(_line(each.judge) for _, each in found),
            "",
            "## Judge against controls",
            "",
            "Of the first seed.",
            "",
            "| experiment | control | control's macro | gain of the judge |",
            "| --- | --- | ---: | ---: |",
            *(_line(cells) for _, each in found for cells in each.controls),
            "",
            "## Commands",
            "",
            "```bash",
            *(
                f"python {shlex.join(command(each, 0, Path('REAL'), Path('JUDGES'), Path('RUNS')))}"
                for each, _ in found
            ),
            "```",
            "",
        ]
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


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
    file = PAGE.with_suffix(".json")
    kept = {name: Rows(**cells) for name, cells in json.loads(file.read_text("utf-8")).items()}
    rows = {**kept, **measured(given.folder)}
    text = json.dumps({name: asdict(each) for name, each in rows.items()}, indent=1)
    file.write_text(text + "\n", encoding="utf-8")
    write_with_remarks(PAGE, page(rows))


if __name__ == "__main__":
    main()
