"""Callbacks of the user are checked before weights load, can stop the training, and resume with their state."""

import logging

import pytest
import trl

from dramaeval.config.problems import ConfigError
from dramaeval.stages.builders import build_callbacks
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer

COUNTER = "callbacks.counter={_target_: step_counter.StepCounter, size: 10}"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("callbacks.mine=5", "callbacks.mine=5 must be a mapping with a _target_"),
        ("callbacks.mine.x=5", "callbacks.mine has no _target_"),
        ("callbacks.mine._target_=nope.Mine", "callbacks.mine._target_=nope.Mine cannot be imported"),
        ("callbacks.mine={_target_: step_counter.StepCounter, sise: 1}", "Did you mean size"),
        ("+trainer.callbacks=[x]", "use callbacks.NAME._target_=package.module.Class"),
    ],
)  # fmt: skip
def test_invalid_callbacks_in_a_configuration_are_refused(problems_of, overrides, message):
    (problem,) = problems_of(overrides)
    assert message in problem


@pytest.mark.parametrize(
    ("overrides", "arguments", "message"),
    [
        (["callbacks.mine._target_=collections.Counter"], {}, "is not a transformers.TrainerCallback"),
        (["callbacks=early_stopping"], {"eval_strategy": "no", "load_best_model_at_end": False}, "needs validations"),
        (["callbacks=early_stopping"], {"load_best_model_at_end": False}, "load_best_model_at_end=true"),
        (["callbacks=early_stopping", "callbacks.early_stopping.early_stopping_patience=0"], {}, "must be 1 or more"),
        (["callbacks=early_stopping", "callbacks.early_stopping.early_stopping_threshold=-1"], {}, "must be 0 or more"),
    ],
)  # fmt: skip
def test_callbacks_that_need_other_training_arguments_are_refused(
    composed, tmp_path, overrides, arguments, message
):
    given = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
        "load_best_model_at_end": True,
    }
    given |= {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "bf16": False,
        "metric_for_best_model": "cross_entropy",
    }
    with pytest.raises(ConfigError, match=message):
        build_callbacks(composed(*overrides), trl.SFTConfig(**{**given, **arguments}))


@pytest.mark.slow
def test_early_stopping_keeps_the_best_step_and_resumes_with_its_count(
    composed, make_clips, tmp_path, caplog, small_judge
):
    """With a learning rate of almost 0 no validation is better than the first, so training stops at step 3."""
    caplog.set_level(logging.INFO)
    config = composed(
        small_judge, f"task.data.train={make_clips('train', 4)}", f"task.data.val={make_clips('val', 3, seed=1)}",
        "device=cpu", "logger=none", "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=6",
        "trainer.args.learning_rate=1e-12", "trainer.args.per_device_train_batch_size=2",
        "trainer.args.eval_steps=1", "trainer.args.save_steps=1", "trainer.args.save_total_limit=9",
        "trainer.args.metric_for_best_model=cross_entropy", "trainer.args.greater_is_better=false",
        "callbacks=early_stopping", "callbacks.early_stopping.early_stopping_patience=2",
        "callbacks.early_stopping.early_stopping_threshold=1e-3", COUNTER,
    )  # fmt: skip
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    for resume in (None, "checkpoint-2", "checkpoint-3"):
        trainer = make_trainer(run)
        trainer.train(resume_from_checkpoint=resume and str(run.folder.checkpoints / resume))
        assert trainer.state.global_step == 3
        values = {
            e["step"]: e["eval_cross_entropy"]
            for e in trainer.state.log_history
            if "eval_cross_entropy" in e
        }
        assert trainer.state.best_metric == pytest.approx(min(values.values()), abs=1e-6)
        (counter,) = [c for c in trainer.callback_handler.callbacks if hasattr(c, "size")]
        assert counter.count == 30
        run.callbacks = build_callbacks(config, run.args)
        run.model = None
    assert (
        "Early stopping at step 3: eval_cross_entropy has not improved in 2 validations"
        in caplog.text
    )
