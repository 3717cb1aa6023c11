"""Compares a judge trained by GRPO over thoughts with its supervised start. Writes docs/grpo_thoughts.md.

    python -m benchmarks.grpo_thoughts            # the runs that are missing in --into, then the page
    python -m benchmarks.grpo_thoughts --page     # the page from the finished runs
    python -m benchmarks.grpo_thoughts --sft-steps 4 --grpo-steps 4 --seeds 0 --into /tmp/proof --out /tmp/proof.md   # a test

For every seed all weights of a judge are trained on `task=role_emotion` of the bundled sample with `trainer=sft`, where
the thoughts are those of the records: the bundled judge has never written a thought. GRPO continues from this judge with
LoRA and samples thoughts and scores. Both are evaluated on the test split with the judge's own greedy thoughts.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.grpo_after_sft import DRAWS, LEVEL, ROOT, Finished, finished, pearsons
from benchmarks.page import write_with_remarks
from dramaeval.evaluation.bootstrap import interval

COMMON = (
    "task=role_emotion", "evaluation.draws=20", "evaluation.zero_shot=false", "evaluation.html=false",
    "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no", "trainer.args.load_best_model_at_end=false",
)  # fmt: skip
#: The text of an answer has many tokens, and one of them is the score: this weight trains them about equally.
SFT = (
    "trainer=sft", "peft=none", "trainer.objective=expected_mse+choice_ce+0.05*answer_ce",
    "trainer.args.learning_rate=1e-3",
)  # fmt: skip
GRPO = (
    "trainer=grpo", "peft=lora", "batch.per_device=8", "trainer.args.max_completion_length=64",
    "trainer.rewards.length.weight=0.2", "trainer.rewards.length.free=32", "trainer.rewards.length.most=64",
)  # fmt: skip
ABOUT = """# GRPO over thoughts

All weights of the bundled judge are trained with supervision on `task=role_emotion` of the bundled sample for {sft} steps,
and then an adapter with GRPO for {grpo} steps: `distance` of the score after the thought, `format` at weight 0.1 and a cost
of the length at weight 0.2. Figures are from the test split, with the judge's own greedy thoughts; the gain of a seed is
the difference from the supervised judge of the same seed. Intervals are {level:.0%} percentile intervals of {draws:,}
paired bootstrap draws that resample characters. "Reward, test" is the expected `distance` of an answer that is drawn from
the judge's distribution over the scale. The last three columns are means over the generated completions in the first and
in the last tenth of the logged steps; tokens and unfinished thoughts are means over the dimensions.
"""


def command(kind: str, seed: int, given: argparse.Namespace) -> list[str]:
    """The command of one run."""
    start, into = f"{given.into}/sft{seed}", f"{given.into}/{kind}{seed}"
    own = [*GRPO, f"trainer.args.max_steps={given.grpo_steps}", f"checkpoint={start}"]
    if kind == "sft":
        own = [*SFT, f"trainer.args.max_steps={given.sft_steps}"]
    return ["launch.py", *COMMON, *own, f"seed={seed}", f"hydra.run.dir={into}"]


def thoughts(folder: Path, figure: str) -> tuple[float, float]:
    """The mean over dimensions of a figure of thoughts, in the first and in the last tenth of the logged steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    names = [name for name in events.Tags()["scalars"] if name.endswith(f"/{figure}")]
    points = [(each.step, each.value) for name in names for each in events.Scalars(name)]
    steps = sorted({step for step, _ in points})
    tenth = max(1, len(steps) // 10)
    means = [
        float(np.mean([value for step, value in points if step in part]))
        if points
        else float("nan")
        for part in (set(steps[:tenth]), set(steps[-tenth:]))
    ]
    return means[0], means[1]


def page(given: argparse.Namespace) -> str:
    """The text of the page for the seeds whose two runs are finished."""
    folder = ROOT / given.into
    seeds = [
        seed
        for seed in given.seeds
        if all((folder / f"{kind}{seed}" / "metrics.json").is_file() for kind in ("sft", "grpo"))
    ]
    before, after = (
        [finished(folder / f"{kind}{seed}") for seed in seeds] for kind in ("sft", "grpo")
    )
    about = ABOUT.format(sft=given.sft_steps, grpo=given.grpo_steps, level=LEVEL, draws=DRAWS)
    lines = [
        "| training | seeds | macro PCC, test | by seed | gain [95 %] | reward, test | its gain | reward in training | "
        "tokens of a thought | unfinished thoughts |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_rows(folder, seeds, before, after) if seeds else []),
    ]
    placed = argparse.Namespace(**{**vars(given), "into": "OUT"})
    shown = [
        f"python {shlex.join(command(kind, given.seeds[0], placed))}" for kind in ("sft", "grpo")
    ]
    made = "`python -m benchmarks.grpo_thoughts` wrote this table. It runs these commands for each seed:"
    return "\n".join([about, *lines, "", made, "", "```bash", *shown, "```", ""])


def _rows(
    folder: Path, seeds: list[int], before: list[Finished], after: list[Finished]
) -> list[str]:
    (first, over_first), (second, over_second) = pearsons(before), pearsons(after)
    rewards = [float(np.mean([each.reward for each in runs])) for runs in (before, after)]
    listed = ", ".join(map(str, seeds))
    start = [
        "supervised",
        listed,
        f"{np.mean(first):.3f}",
        _list(first),
        "-",
        f"{rewards[0]:.3f}",
        *"----",
    ]
    low, high = interval(over_second - over_first, LEVEL) or (float("nan"), float("nan"))
    logged = np.mean([each.logged for each in after if each.logged], axis=0)
    figures = [
        np.mean([thoughts(folder / f"grpo{seed}", name) for seed in seeds], axis=0)
        for name in ("thought_length", "thought_unfinished")
    ]
    end = [
        "then GRPO", listed, f"{np.mean(second):.3f}", _list(second),
        f"{np.mean(second) - np.mean(first):+.3f} [{low:+.3f}, {high:+.3f}]", f"{rewards[1]:.3f}",
        f"{rewards[1] - rewards[0]:+.3f}", *(f"{a:.3f} → {b:.3f}" for a, b in (logged, *figures)),
    ]  # fmt: skip
    return ["| " + " | ".join(cells) + " |" for cells in (start, end)]


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sft-steps", type=int, default=220, help="steps of the start")
    parser.add_argument("--grpo-steps", type=int, default=120)
    parser.add_argument("--into", default="outputs/grpo_thoughts")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "grpo_thoughts.md")
    given = parser.parse_args()
    for seed in given.seeds:
        for kind in ("sft", "grpo"):
            done = (ROOT / given.into / f"{kind}{seed}" / "metrics.json").is_file()
            if not done and not given.page:
                subprocess.run([sys.executable, *command(kind, seed, given)], cwd=ROOT, check=True)
    text = page(given)
    write_with_remarks(given.out, text)
    print(text)


if __name__ == "__main__":
    main()
