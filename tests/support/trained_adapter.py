"""Trains an adapter of the tiny judge that writes answers in the expected form; GRPO tests start from it.

The tiny judge itself often does not, since it was also trained to answer with words and with other digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from repository import ROOT

from dramaeval.config import registration
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer, save

SETTINGS = (
    "device=cpu",
    "logger=none",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "task.labels=sample",
    # With an objective of the expected score too, the form of the answer is a fifth of the loss, too little in 25 steps.
    "trainer.objective=soft_ce",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.max_steps=25",
    "trainer.args.learning_rate=5e-3",
    "trainer.args.warmup_steps=0",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
)


def teach(folder: Path, files: Sequence[str]) -> Path:
    """Train the adapter on the splits in ``files``, given as overrides; returns its folder."""
    registration.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("launch", overrides=[*SETTINGS, *files])
    trainer = make_trainer(RunContext(config, RunFolder(folder / "run")))
    trainer.train()
    save(trainer, folder / "adapter")
    return folder / "adapter"
