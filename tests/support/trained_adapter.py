"""An adapter of the tiny judge that knows the form of an answer, as GRPO begins with it.

The bundled judge alone does not: it has been taught words and other digits as answers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from repository import ROOT

from dramaeval.config import schema
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer, save

SETTINGS = (
    "device=cpu",
    "logger=none",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "task.labels=sample",
    # A mean error alone would leave the form of an answer to a fifth of the loss: too little in so few steps.
    "trainer.objective=soft_ce",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.max_steps=15",
    "trainer.args.learning_rate=5e-3",
    "trainer.args.warmup_steps=0",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
)


def teach(folder: Path, files: Sequence[str]) -> Path:
    """Train it on the splits that ``files`` name, as overrides; returns its folder."""
    schema.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("launch", overrides=[*SETTINGS, *files])
    trainer = make_trainer(RunContext(config, RunFolder(folder / "run")))
    trainer.train()
    save(trainer, folder / "adapter")
    return folder / "adapter"
