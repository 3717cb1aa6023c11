"""Resuming from the last checkpoint trains no further step; older checkpoints are deleted after a newer one is complete.

The learning rate is constant, so that a further step would change the weights.
"""

import shutil

import pytest
import torch
from clips import write_clips
from transformers import TrainerCallback

from dramaeval.data.fingerprint import RECORDS
from dramaeval.data.manifest import read_manifest, seal
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.training import checkpoints
from dramaeval.training.checkpoints import (
    OtherRecordsError,
    has_ended,
    last_checkpoint,
    other_records,
)

SETTINGS = (
    "stages=[train]", "device=cpu", "logger=none", "task.dimensions=[pitch_dynamics]",
    "trainer.args.per_device_train_batch_size=2", "trainer.args.logging_steps=1",
    "trainer.args.eval_steps=1", "trainer.args.save_steps=1", "trainer.args.save_total_limit=null",
    "trainer.args.learning_rate=0.01", "trainer.args.lr_scheduler_type=constant",
)  # fmt: skip
WITHOUT_VALIDATION = ("trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false")
GRPO = (
    "trainer=grpo", "trainer.args.num_generations=2", "trainer.args.max_completion_length=8",
    "trainer.rewards.length.weight=1", "trainer.rewards.length.free=2",
)  # fmt: skip


class StopAtStepTwo(TrainerCallback):
    """Ends the training at a validation, as early stopping does."""

    def on_evaluate(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "callback", "steps"),
    [
        # Four clips are two steps per epoch.
        (("trainer.args.max_steps=3", "trainer.args.metric_for_best_model=cross_entropy",
          "trainer.args.greater_is_better=false", "trainer.args.learning_rate=0.3"), None, 3),
        (("trainer.args.num_train_epochs=1.5", *WITHOUT_VALIDATION), None, 3),
        (("trainer.args.num_train_epochs=1", *WITHOUT_VALIDATION), None, 2),
        (("trainer.args.max_steps=5",), StopAtStepTwo, 2),
        (("trainer.args.max_steps=2", "trainer.args.save_only_model=true", *WITHOUT_VALIDATION), None, 2),
        (("trainer.args.max_steps=3", "peft=adalora", *WITHOUT_VALIDATION), None, 3),
        (("trainer.args.max_steps=2", "peft=none", *WITHOUT_VALIDATION), None, 2),
        (("trainer.args.num_train_epochs=1.5", *GRPO, *WITHOUT_VALIDATION), None, 3),
    ],
    ids=["the best is kept", "part of an epoch", "epochs", "stopped early", "weights alone", "adalora", "full",
         "grpo, part of an epoch"],
)  # fmt: skip
def test_resuming_a_finished_training_takes_no_further_step(
    composed, tmp_path, settings, callback, steps, small_judge
):
    data = [
        f"task.data.{split}={write_clips(tmp_path, split, 4, seconds=(0.3, 0.5), seed=seed)}"
        for seed, split in enumerate(("train", "val"))
    ]
    # GRPO uses the tiny judge, because it rewards the length, in which answers of the random judge do not differ.
    judge = () if "trainer=grpo" in settings else (small_judge,)
    config = composed(*SETTINGS, *judge, *settings, *data)
    check(config)
    folder = RunFolder(tmp_path / "run")

    def trained(resume):
        run = RunContext(config, folder)
        make_plan(run)
        trainer = make_trainer(run, resume)
        if callback:
            trainer.add_callback(callback())
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        weights = {
            name: weight.detach().clone()
            for name, weight in trainer.model.named_parameters()
            if weight.requires_grad
        }
        return weights, trainer.state

    weights, state = trained(None)
    last = last_checkpoint(folder.checkpoints)
    assert last.name == f"checkpoint-{steps}"
    assert has_ended(last)
    assert not has_ended(last.with_name("checkpoint-1"))
    resumed, resumed_state = trained(last)
    assert resumed_state.global_step == state.global_step == steps
    assert last_checkpoint(folder.checkpoints) == last
    assert all(torch.equal(weight, resumed[name]) for name, weight in weights.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("peft", "place"), [("lora", shutil.move), ("none", shutil.move), ("lora", shutil.copytree)]
)
def test_a_moved_or_copied_training_that_resumes_at_its_end_loads_its_own_best_weights(
    composed, tmp_path, small_judge, monkeypatch, peft, place
):
    data = [
        f"task.data.{split}={write_clips(tmp_path, split, 4, seconds=(0.3, 0.5), seed=seed)}"
        for seed, split in enumerate(("train", "val"))
    ]
    config = composed(*SETTINGS, small_judge, *data, f"peft={peft}", "trainer.args.max_steps=3")
    check(config)

    def weights_of(folder, resume=None):
        trainer = make_trainer(RunContext(config, RunFolder(folder)), resume)
        figures = iter((0.2, 0.9, 0.1))  # the second step is the best
        monkeypatch.setattr(
            "dramaeval.training.judge_trainer.validation_metrics",
            lambda predictions: {"pearson": next(figures)},
        )
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        assert trainer.state.best_global_step == 2
        return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}

    weights = weights_of(tmp_path / "run")
    place(tmp_path / "run", tmp_path / "moved")
    if place is shutil.copytree:  # the first run continues with other weights
        best, last = (tmp_path / "run" / "checkpoints" / f"checkpoint-{step}" for step in (2, 3))
        shutil.rmtree(best)
        shutil.copytree(last, best)
    resume = last_checkpoint(RunFolder(tmp_path / "moved").checkpoints, with_best=True)
    assert resume.name == "checkpoint-3"
    resumed = weights_of(tmp_path / "moved", resume)
    assert all(torch.equal(weight, resumed[name]) for name, weight in weights.items())


@pytest.mark.slow
def test_an_older_checkpoint_is_deleted_after_the_new_one_is_sealed(
    composed, tmp_path, monkeypatch, small_judge
):
    """The process is killed before the second checkpoint is sealed, with a limit of one checkpoint."""
    data = f"task.data.train={write_clips(tmp_path, 'train', 4, seconds=(0.3,))}"
    config = composed(
        *SETTINGS,
        *WITHOUT_VALIDATION,
        small_judge,
        data,
        "trainer.args.max_steps=3",
        "trainer.args.save_total_limit=1",
    )
    check(config)
    folder = RunFolder(tmp_path / "run")
    run = RunContext(config, folder)
    make_plan(run)
    sealed = []

    def seal_one(checkpoint, processes):
        sealed.append(checkpoint.name)
        if len(sealed) == 2:
            raise KeyboardInterrupt
        seal(checkpoint, processes)

    monkeypatch.setattr(checkpoints, "seal", seal_one)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(run).train()
    assert last_checkpoint(folder.checkpoints).name == "checkpoint-1"
    monkeypatch.undo()
    make_trainer(RunContext(config, folder)).train(resume_from_checkpoint=True)
    names = [path.name for path in folder.checkpoints.iterdir()]
    assert names == ["checkpoint-3"]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [(), GRPO], ids=["sft", "grpo"])
def test_resuming_with_other_records_is_refused(composed, tmp_path, settings):
    file = write_clips(tmp_path, "train", 4, seconds=(0.5,))
    data = f"task.data.train={file}"
    config = composed(*SETTINGS, *WITHOUT_VALIDATION, *settings, data, "trainer.args.max_steps=1")
    check(config)

    def trainer():
        run = RunContext(config, RunFolder(tmp_path / "run"))
        make_plan(run)
        return make_trainer(run)

    trainer().train()
    folder = tmp_path / "run" / "checkpoints" / "checkpoint-1"
    assert RECORDS in read_manifest(folder)
    trainer().train(resume_from_checkpoint=True)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]))
    with pytest.raises(
        OtherRecordsError,
        match=r"checkpoint-1 .*train: 2 of 4 records are missing \(train-2, train-3\)",
    ):
        trainer().train(resume_from_checkpoint=True)
    # A checkpoint of an earlier version has no list of its records.
    assert other_records(tmp_path, "x") is None
