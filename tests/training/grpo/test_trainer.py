"""The GRPO trainer: it raises the reward, logs metrics and refuses contradicting settings."""

import itertools
import math

import numpy as np
import pytest
import torch
from grpo_trainers import ENUMERATED, generate, gradient_of, logged
from hydra.errors import ConfigCompositionException

from dramaeval.config.problems import ConfigError
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [ENUMERATED, ("trainer.args.num_generations=8",)], ids=["enumerated", "sampled"]
)
def test_training_raises_the_reward(trainer_of, trained_adapter, settings):
    trainer = trainer_of(
        *settings, trained_adapter, "trainer.args.max_steps=12",
        "trainer.args.per_device_train_batch_size=4", "trainer.args.learning_rate=2e-3",
        "trainer.args.beta=0", "task.dimensions=[pitch_dynamics]",
    )  # fmt: skip
    trainer.train()
    reward = logged(trainer, "reward")
    assert np.mean(reward[-4:]) > np.mean(reward[:4]) + 0.02


@pytest.mark.slow
def test_every_loss_type_of_trl_has_a_finite_gradient(trainer_of, config_of):
    trainer = trainer_of()
    trainer.current_gradient_accumulation_steps = 1
    (inputs,) = generate(trainer, 0, 1)
    inputs["advantages"] = torch.linspace(-1, 1, len(inputs["advantages"]))
    for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"):
        check(config_of(f"trainer.args.loss_type={loss}"))
        trainer.loss_type = loss
        gradient = gradient_of(trainer, inputs)
        assert torch.isfinite(gradient).all(), loss
        assert gradient.norm() > 0, loss


@pytest.mark.slow
def test_metrics_of_each_dimension_are_logged(trainer_of, trained_adapter):
    trainer = trainer_of(
        trained_adapter, "trainer.args.max_steps=4", "trainer.args.logging_steps=4"
    )
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    for key, name in itertools.product(
        ("pitch_dynamics", "trait_embodiment"),
        ("reward", "reward_spread", "no_spread", "length", "kl", "entropy", "clipped"),
    ):
        assert math.isfinite(entry[f"dimensions/{key}/{name}"]), (key, name)
    assert any(name.endswith("/pearson") for name in entry)
    for name in (
        "rewards/distance/mean",
        "rewards/format/mean",
        "completions/clipped_ratio",
        "kl",
        "entropy",
    ):
        assert math.isfinite(entry[name])
    assert entry["questions_per_second"] > 0


def test_a_prompt_that_is_too_long_names_its_record(config_of, tmp_path):
    config = config_of()
    run = RunContext(config, RunFolder(tmp_path / "run"))
    long = run.splits["train"][3]
    long.fields["local_scene"] = "word " * 9000
    with pytest.raises(BadRecordsError, match="never cut") as refused:
        make_plan(run)
    assert [problem.id for problem in refused.value.problems] == [long.id]
    assert run._model is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.estimator=enumerate"], "trainer.estimator=enumerate is not known"),
        (["trainer.args.loss_typ=grpo"], "trainer.args.loss_typ is not an argument of trl.GRPOConfig"),
        (["trainer.args.reward_weights=[1]"], r"use trainer.rewards.NAME.weight"),
        (["trainer.rewards.distance.weight=0", "trainer.rewards.format.weight=0"], "no reward with a weight"),
        (["+trainer.rewards.distance.square=true"], "trainer.rewards.distance.square is not an argument"),
        (["trainer.args.num_generations=1"], "num_generations=1 must be 2 or more"),
        (["batch.questions_per_clip=3"], "GRPO samples one question for each clip"),
        (["batch.max_tokens=9000", "trainer.args.per_device_train_batch_size=null"], "same number of clips"),
        (["model.head=regression"], "a number instead of answers"),
        (["trainer.args.use_vllm=true"], "without the audio"),
        (["trainer.estimator=enumerated"], "num_generations=3 is a setting of sampling"),
        (["trainer.estimator=enumerated", "trainer.args.num_generations=null", "trainer.args.loss_type=grpo"],
         "by their probability"),
        (["trainer.estimator=enumerated", "trainer.args.num_generations=null",
          "trainer.rewards.correlation.weight=1"], "does not sample"),
        (["trainer.objective=soft_ce"], "objective"),
    ],
)  # fmt: skip
def test_contradicting_settings_are_refused(config_of, overrides, message):
    with pytest.raises((ConfigError, ConfigCompositionException), match=message):
        check(config_of(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.args.max_completion_length=3"], "is shorter than an answer"),
        (
            ["batch.per_device=9", "trainer.args.per_device_train_batch_size=null"],
            "there are 8 to train on",
        ),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused_before_weights_load(
    config_of, tmp_path, overrides, message
):
    config = config_of(*overrides)
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    with pytest.raises(ConfigError, match=message):
        make_plan(run)
    assert run._model is None
