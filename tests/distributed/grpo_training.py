"""GRPO trainings for tests with several processes: ``python grpo_training.py FOLDER TRAIN VAL CHECKPOINT CASE …``.

Every process of a group runs this; the first one writes ``CASE.json``. A case is ``zero-peft-estimator``. With ``+fresh``
it starts with a new adapter instead of CHECKPOINT; with ``+pair`` it does so on prompts with pairs of clips (see
``training.py``).
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from training import build, pairs_beside

from dramaeval import startup
from dramaeval.config import registration
from dramaeval.data.atomic_files import write_folder_atomic
from dramaeval.distributed.processes import process_group
from dramaeval.stages.train import make_trainer, save

GRPO = (
    "trainer=grpo",
    "stages=[train]",
    "trainer.args.max_steps=2",
    "trainer.args.max_completion_length=10",
    "trainer.args.learning_rate=2e-3",
    "batch.global=4",
    "batch.per_device=1",
)
#: The metrics compared between one process and several; without TRL's entropy, which is a mean of means of passes.
FIGURES = ("loss", "grad_norm", "reward", "reward_std", "kl", "completions/mean_length")


def train(case, folder, data, checkpoint, processes):
    """Run one training; return its metrics by step."""
    name, _, kind = case.partition("+")
    zero, peft, estimator = name.split("-")
    if kind == "pair":
        data = pairs_beside(data, "pair_direct")
    count = "null" if estimator == "enumerated" else "4"
    words = [
        *GRPO, *data, f"zero={zero}", f"peft={peft}", f"trainer.estimator={estimator}",
        f"trainer.args.num_generations={count}",
    ]  # fmt: skip
    if peft == "none" or kind:
        # Answers of an untrained judge differ only in length, so the length is rewarded.
        words += ["trainer.rewards.length.weight=1", "trainer.rewards.length.free=2"]
    else:
        words.append(f"checkpoint={checkpoint}")
    if peft == "none":
        # Adam makes steps of the full size for gradients near 0, whose sign depends on rounding.
        words.append("trainer.args.learning_rate=1e-4")
    run = build(words, folder / case, processes)
    trainer = make_trainer(run)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    write_folder_atomic(folder / case / "model", lambda into: save(trainer, into), processes)
    print(case, flush=True)
    return [{name: entry[name] for name in FIGURES} for entry in history]


def main(folder, train_file, val_file, checkpoint, *cases):
    """Run all cases, one after the other."""
    registration.register()
    startup.prepare_device()
    gc.freeze()  # exclude the imported libraries from garbage collection
    data = [f"task.data.train={train_file}", f"task.data.val={val_file}"]
    with process_group() as processes:
        for case in cases:
            result = train(case, Path(folder), data, checkpoint, processes)
            if processes.is_rank_zero:
                (Path(folder) / f"{case}.json").write_text(json.dumps(result))
            gc.collect()


if __name__ == "__main__":
    main(*sys.argv[1:])
