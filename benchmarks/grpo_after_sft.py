"""Compares GRPO with sampled and with enumerated answers, after a short supervised training: docs/grpo.md.

    python -m benchmarks.grpo_after_sft            # the runs that are missing in --into, then the page
    python -m benchmarks.grpo_after_sft --table    # the page from the finished runs

For every seed a judge is trained on the bundled sample with `trainer=sft` and stopped early. Both estimators continue
from this judge for the same number of steps. All judges are evaluated on the test split.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.page import write_with_remarks
from dramaeval.evaluation.bootstrap import bootstrap_draws, interval
from dramaeval.evaluation.dimension_arrays import cluster_names, dimension_arrays
from dramaeval.evaluation.metrics.pearson import Pearson
from dramaeval.evaluation.predictions import Prediction
from dramaeval.stages.predictions_file import read_phase

ROOT = Path(__file__).resolve().parents[1]
START, SAMPLED, ENUMERATED = "sft", "sampled", "enumerated"
DRAWS, LEVEL = 2_000, 0.95
COMMON = (
    "task=role", "peft=lora", "evaluation.draws=20", "evaluation.zero_shot=false", "evaluation.html=false",
    "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
)  # fmt: skip
TRAINED = {
    START: ("trainer=sft", "trainer.objective=soft_ce", "trainer.args.max_steps=10"),
    SAMPLED: ("trainer=grpo", "trainer.estimator=sampled"),
    ENUMERATED: ("trainer=grpo", "trainer.estimator=enumerated"),
}
#: Settings of both estimators; all others have their defaults.
GRPO = ("batch.per_device=8", "trainer.args.max_steps=80")


@dataclass(frozen=True)
class Finished:
    """The results of a run on the test split.

    Attributes:
        predictions: of the trained judge.
        seconds: of the training.
        logged: the training reward in the first and the last tenth of the steps; None for supervised training.
    """

    predictions: list[Prediction]
    seconds: float
    logged: tuple[float, float] | None

    @property
    def reward(self) -> float:
        """The expected `distance` of an answer drawn from the judge, over all questions."""
        values = []
        for one in self.predictions:
            given = [value for value in one.ratings if value is not None]
            if one.distribution is not None and given:
                scale = np.array(one.scale)
                near = 1 - np.abs(scale - np.mean(given)) / (scale[-1] - scale[0])
                values.append(float(np.array(one.distribution) @ near))
        return float(np.mean(values))


def command(kind: str, seed: int, into: str) -> list[str]:
    """The command of one run."""
    words = ["launch.py", *TRAINED[kind], *COMMON, f"seed={seed}"]
    if kind != START:
        words += [*GRPO, f"checkpoint={into}/{START}{seed}"]
    return [*words, f"hydra.run.dir={into}/{kind}{seed}"]


def finished(folder: Path) -> Finished:
    """Read a run's results."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    names = events.Tags()["scalars"]
    (seconds,) = [one.value for one in events.Scalars("train/train_runtime")]
    logged = None
    if "train/reward" in names:
        values = [one.value for one in events.Scalars("train/reward")]
        tenth = max(1, len(values) // 10)
        logged = (float(np.mean(values[:tenth])), float(np.mean(values[-tenth:])))
    predictions = read_phase(folder / "predictions.jsonl").ratings["test"]
    return Finished(predictions, seconds, logged)


def pearsons(runs: Sequence[Finished]) -> tuple[list[float], np.ndarray]:
    """Macro Pearson of each run, and its mean over the runs for every bootstrap draw, which resamples characters."""
    clusters = cluster_names(one for one in runs[0].predictions if one.mean_rating is not None)
    draws = bootstrap_draws(len(clusters), DRAWS, 0)
    values, over = [], []
    for run in runs:
        keys = dict.fromkeys(one.dimension for one in run.predictions)
        answers = [
            dimension_arrays(
                key, [one for one in run.predictions if one.dimension == key], clusters
            )
            for key in keys
        ]
        values.append(float(np.mean([Pearson()(one) for one in answers])))
        over.append(np.mean([Pearson().over_draws(one, draws) for one in answers], axis=0))
    return values, np.mean(over, axis=0)


NAMES = {
    START: "supervised, stopped early",
    SAMPLED: "then GRPO, sampled",
    ENUMERATED: "then GRPO, enumerated",
}
ABOUT = """# Supervised training, then GRPO

The bundled judge is first trained with supervision on the bundled sample, for 10 of the 330 steps of a complete
training (about 0.61 with the weights of these runs). GRPO with the `distance` reward then continues from this judge, with
the same number of steps and the same questions for both estimators. Figures are from the test split; the gain of a
seed is the difference from the supervised judge of the same seed. Intervals are {level:.0%} percentile intervals of {draws:,}
paired bootstrap draws that resample characters. "Reward, test" is the expected `distance` of an answer that is drawn from
the judge's distribution over the scale. "Reward in training" is the mean reward of all generated answers in the first and
in the last tenth of the logged steps, with `format` at weight 0.1. Seconds are those of the training alone, {cores}.
"""


def page(folder: Path, seeds: Sequence[int], command_lines: Sequence[str], cores: str) -> str:
    """The text of docs/grpo.md for the finished runs."""
    runs: dict[str, dict[int, Finished]] = {}
    for kind in TRAINED:
        there = [one for one in seeds if (folder / f"{kind}{one}" / "metrics.json").is_file()]
        if there:
            runs[kind] = {seed: finished(folder / f"{kind}{seed}") for seed in there}
    lines = [
        "| training | seeds | macro PCC, test | by seed | gain [95 %] | reward, test | its gain | reward in "
        "training "
        "| seconds | PCC gained per minute |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind, some in runs.items():
        begun = [runs[START][seed] for seed in some]
        lines.append(_row(kind, some, begun))
    made = "`python -m benchmarks.grpo_after_sft` wrote this table. It runs these commands for each seed:"
    about = ABOUT.format(level=LEVEL, draws=DRAWS, cores=cores)
    return "\n".join([about, *lines, "", made, "", "```bash", *command_lines, "```", ""])


def _row(kind: str, some: dict[int, Finished], begun: Sequence[Finished]) -> str:
    ended = list(some.values())
    values, over = pearsons(ended)
    before, over_before = pearsons(begun)
    seconds = float(np.mean([one.seconds for one in ended]))
    reward = float(np.mean([one.reward for one in ended]))
    cells = [NAMES[kind], ", ".join(map(str, some)), f"{np.mean(values):.3f}"]
    cells.append(", ".join(f"{one:.3f}" for one in values))
    if kind == START:
        return (
            "| "
            + " | ".join([*cells, "-", f"{reward:.3f}", "-", "-", f"{seconds:.0f}", "-"])
            + " |"
        )
    gain = float(np.mean(values) - np.mean(before))
    low, high = interval(over - over_before, LEVEL) or (float("nan"), float("nan"))
    first, last = np.mean([one.logged for one in ended if one.logged], axis=0)
    cells += [
        f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]",
        f"{reward:.3f}",
        f"{reward - np.mean([one.reward for one in begun]):+.3f}",
        f"{first:.3f} → {last:.3f}",
        f"{seconds:.0f}",
        f"{gain / seconds * 60:+.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--into", default="outputs/grpo_after_sft")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "grpo.md")
    parser.add_argument("--cores", default="on 2 cores", help="what the page says of the machine")
    given = parser.parse_args()
    seeds = [int(one) for one in given.seeds.split(",")]
    for seed in seeds:
        for kind in TRAINED:
            done = (ROOT / given.into / f"{kind}{seed}" / "metrics.json").is_file()
            if not done and not given.table:
                subprocess.run(
                    [sys.executable, *command(kind, seed, given.into)], cwd=ROOT, check=True
                )
    command_lines = [
        f"python {shlex.join(command(kind, seeds[0], given.into))}" for kind in TRAINED
    ]
    text = page(ROOT / given.into, seeds, command_lines, given.cores)
    write_with_remarks(given.out, text)
    print(text)


if __name__ == "__main__":
    main()
