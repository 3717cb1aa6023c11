"""Trainings for the tests of several processes: started as ``python training.py FOLDER TRAIN VAL CASE …``.

Every process of a group runs this; the first leaves ``CASE.json`` with losses and predictions and the folder
``CASE`` with the saved model. One start serves all cases, since starting costs more than training.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from dramaeval.cluster.processes import joined
from dramaeval.config import schema
from dramaeval.config.check import check
from dramaeval.run.folder import RunFolder, fill_whole
from dramaeval.run.run import Run, save

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SETTINGS = (
    "device=cpu",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "batch.global=4",
    "batch.per_device=1",
    "batch.eval_clips=2",
    "trainer.args.max_steps=5",
    "trainer.args.learning_rate=1e-3",
    "trainer.args.logging_steps=1",
    "trainer.args.save_steps=3",
    "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.warmup_steps=0",
    "logger=none",
)


def train(case, folder, data, processes):
    """One training; ``case`` is zero-peft, with ``+resume`` to go on from step 3 of the same case."""
    name, _, resumes = case.partition("+")
    zero, peft = name.split("-")
    overrides = [*SETTINGS, *data, f"zero={zero}", f"peft={peft}", f"processes={processes.count}"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("launch", overrides=overrides)
    check(config)
    run = Run(config, RunFolder(folder / name / "run"), processes)
    resume = run.folder.checkpoints / "checkpoint-3" if resumes else None
    trainer = run._trainer(resume)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    losses = {
        entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry
    }
    # An odd number of batches: one process has none in the last turn.
    predictions = trainer.predict_records(run.splits["val"])
    if not resumes:
        fill_whole(folder / name / "model", lambda into: save(trainer, into), processes)
    engine = trainer.model_wrapped
    told = {
        "losses": losses,
        "engine": type(engine).__name__,
        "stage": engine.zero_optimization_stage()
        if hasattr(engine, "zero_optimization_stage")
        else 0,
        "predictions": [one.to_json() for one in predictions],
    }
    if processes.first:
        (folder / f"{case}.json").write_text(json.dumps(told))
    print(case, losses, flush=True)


def main(folder, train_file, val_file, *cases):
    """All cases, one after the other."""
    schema.register()
    data = [f"task.data.train={train_file}", f"task.data.val={val_file}"]
    with joined() as processes:
        for case in cases:
            train(case, Path(folder), data, processes)
            gc.collect()


if __name__ == "__main__":
    main(*sys.argv[1:])
