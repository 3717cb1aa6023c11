"""A step of GRPO with eight completions a question: prompt and clip shared by them, against repeated for each.

    python -m benchmarks.grpo_step [tiny] [midsize] [--repeats N]

Both paths are one option apart (``batch.shared_prefix``), draw the same completions and take turns, so that a
slow spell of the machine meets both. Prints the median seconds of a step and their ratio, as Markdown.
Enumerated answers are the five of the scale. Midsize is the random model of the 7B's proportions of
`benchmarks.midsize`; the clips are the bundled sample's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ESTIMATORS = ("sampled", "enumerated")
SETTINGS = (
    "trainer=grpo", "stages=[train]", "device=cpu", "logger=none", "trainer.args.max_steps=1000",
    "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
)  # fmt: skip


def main() -> None:
    """Measure and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=["tiny", "midsize"])
    parser.add_argument("--estimators", default=",".join(ESTIMATORS))
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    much = f"{arguments.clips} clips, 8 completions each, {arguments.threads} threads"
    print(f"{much}, median of {arguments.repeats} steps\n")
    print("| model | estimator | repeated, s | shared, s | times as fast |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.models:
            for estimator in arguments.estimators.split(","):
                row = compare(name, estimator, Path(folder), arguments.repeats, arguments.clips)
                print(f"| {name} | {estimator} | " + " | ".join(row) + " |", flush=True)


def compare(name: str, estimator: str, folder: Path, repeats: int, clips: int) -> list[str]:
    """A row of the table."""
    trainers = {
        shared: trainer_of(name, estimator, shared, folder, clips) for shared in (False, True)
    }
    taken: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(repeats + 1):
        for shared, trainer in trainers.items():
            seconds = step(trainer, range(turn * clips, (turn + 1) * clips))
            if turn:  # the first one warms up
                taken[shared].append(seconds)
    plain, fast = (median(taken[shared]) for shared in (False, True))
    return [f"{plain:.2f}", f"{fast:.2f}", f"{plain / fast:.1f}"]


def trainer_of(name: str, estimator: str, shared: bool, folder: Path, clips: int) -> Any:
    """The trainer of one path."""
    from dramaeval.config.check import check
    from dramaeval.config.composing import compose
    from dramaeval.run.folder import RunFolder
    from dramaeval.run.run import Run
    from dramaeval.run.training import make_trainer

    words = [*SETTINGS, f"trainer.estimator={estimator}", f"batch.shared_prefix={shared}"]
    words.append(f"batch.per_device={clips}")
    if name == "midsize":
        from benchmarks import midsize

        path = midsize.write(folder / "midsize")
        # Random weights seldom end a completion: as many tokens as an answer takes.
        words += ["model=qwen2_audio", f"model.path={path}", "trainer.args.max_completion_length=7"]
    config = compose(*words)
    check(config)
    trainer = make_trainer(Run(config, RunFolder(folder / f"{name}-{estimator}-{shared}")))
    trainer.create_optimizer_and_scheduler(1000)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def step(trainer: Any, numbers: range) -> float:
    """Seconds of a step: completions, rewards, reference, loss, gradient, optimizer."""
    rows = [{"row": number, "epoch": 0} for number in numbers]
    for row in rows:
        trainer.groups(row["row"], row["epoch"])  # decoding is not what is compared
    began = time.perf_counter()
    trainer._buffered_inputs = None
    inputs = trainer._prepare_inputs(rows)
    trainer.compute_loss(trainer.model, inputs).backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
