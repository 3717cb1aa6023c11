"""Trainings for tests with several processes: ``python training.py FOLDER TRAIN VAL JUDGE LANGUAGE_MODEL CASE …``.

Every process of a group runs this; the first one writes ``CASE.json`` with losses and predictions, and the folder
``CASE`` with the saved model. One start runs all cases, since starting takes longer than training.

A case is ``zero-peft`` with the judge in the folder JUDGE. ``+causal`` uses the model in LANGUAGE_MODEL, ``+pair`` the
pairs of clips in the files beside TRAIN and VAL (``train.pairs.jsonl``). ``+resume`` resumes from step 2 of the same
case, and ``+other`` from step 2 of the same case of the group with another number of processes.
``score`` scores the untrained judge.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from dramaeval import startup
from dramaeval.config import registration
from dramaeval.config.batch_size import StepSize
from dramaeval.data.atomic_files import write_folder_atomic
from dramaeval.distributed.processes import process_group
from dramaeval.distributed.zero import engine_differences
from dramaeval.evaluation.scoring import score
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer, save

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SETTINGS = (
    "device=cpu",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "batch.global=4",
    "batch.per_device=1",
    "batch.eval_clips=2",
    "trainer.args.max_steps=3",
    "trainer.args.learning_rate=1e-3",
    "trainer.args.logging_steps=1",
    "trainer.args.save_steps=2",
    "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.warmup_steps=0",
    "logger=none",
)
#: With this limit ZeRO 3 splits the largest weights of a small judge: embeddings of tokens and positions, and the output.
SPLIT_FROM = "zero.zero_optimization.stage3_param_persistence_threshold=40000"
#: Settings that differ from those of every training here.
ANOTHER = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}


def build(words, folder, processes):
    """The context of a run with these settings."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("launch", overrides=[*SETTINGS, *words, f"processes={processes.count}"])
    check(config)
    return RunContext(config, RunFolder(folder / "run"), processes)


def pairs_beside(data, task):
    """The data settings of the pair files beside the files in ``data``."""
    pairs = [f"{word.removesuffix('.jsonl')}.pairs.jsonl" for word in data]
    return [*pairs, f"task={task}", "task.dimensions=[human_likeness,appropriateness]"]


def train(case, folder, data, judge, language_model, processes):
    """Run one training; return its losses, engine and predictions."""
    name, *more = case.split("+")
    model = [f"model.path={judge}"]
    if "causal" in more:
        name = f"{name}+causal"
        model = ["model=causal_lm", f"model.path={language_model}"]
    if "pair" in more:
        data = pairs_beside(data, "pair")
    zero, peft = name.removesuffix("+causal").split("-")
    model += [SPLIT_FROM] if zero == "zero3" else []
    run = build([*data, *model, f"zero={zero}", f"peft={peft}"], folder / case, processes)
    from_step = {"resume": folder, "other": folder.parent / f"by{3 - processes.count}"}
    (source,) = [where for key, where in from_step.items() if key in more] or [None]
    resume = source / name / "run" / "checkpoints" / "checkpoint-2" if source else None
    trainer = make_trainer(run, resume)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    history = trainer.state.log_history
    losses = {entry["step"]: entry["loss"] for entry in history if "loss" in entry}
    # The number of batches is odd, so one process has no batch in the last turn.
    predictions = trainer.predict_records(run.splits["val"])
    if not resume:
        write_folder_atomic(folder / case / "model", lambda into: save(trainer, into), processes)
    engine = trainer.model_wrapped
    stage = getattr(engine, "zero_optimization_stage", lambda: 0)
    print(case, losses, flush=True)
    return {
        "losses": losses,
        "engine": type(engine).__name__,
        "stage": stage(),
        "differences": engine_differences(engine, ANOTHER, StepSize(2, 1, 3)),
        "predictions": [one.to_json() for one in predictions],
    }


def scored(folder, data, processes):
    """The predictions of the untrained judge."""
    run = build(data, folder / "score", processes)
    found = score(
        run.model, run.splits["val"], run.record_encoder, clips_a_batch=2, processes=processes
    )
    return {"predictions": [one.to_json() for one in found]}


def main(folder, train_file, val_file, judge, language_model, *cases):
    """Run all cases, one after the other."""
    registration.register()
    startup.prepare_device()
    gc.freeze()  # exclude the imported libraries from garbage collection
    data = [f"task.data.train={train_file}", f"task.data.val={val_file}"]
    with process_group() as processes:
        for case in cases:
            result = (
                scored(Path(folder), data, processes)
                if case == "score"
                else train(case, Path(folder), data, judge, language_model, processes)
            )
            if processes.is_rank_zero:
                (Path(folder) / f"{case}.json").write_text(json.dumps(result))
            gc.collect()


if __name__ == "__main__":
    main(*sys.argv[1:])
