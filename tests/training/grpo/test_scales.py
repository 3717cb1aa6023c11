"""GRPO with scores that have several tokens: 0-10, half points and labels."""

import math

import pytest
import torch
from grpo_trainers import ENUMERATED, QUICK, check_parity, generate, loss_inputs
from scaled_clips import HALF_POINTS, overrides, write_scaled_clips

from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer

ANSWERS = {
    "ten": tuple(map(str, range(11))),
    "half": ("1", "1.5", "2", "2.5", "3", "3.5", "4", "4.5", "5"),
}
POINTS = {"ten": tuple(range(11)), "half": HALF_POINTS}


@pytest.fixture
def trainer_of(composed, tmp_path):
    train = write_scaled_clips(tmp_path, "train", 8, seconds=(0.3, 1.0))

    def build(*more):
        quick = [item for item in QUICK if not item.startswith("task.")]
        config = composed("stages=[train]", *quick, *overrides(), f"task.data.train={train}", *more)
        check(config)
        return make_trainer(RunContext(config, RunFolder(tmp_path / "run")))

    return build


@pytest.mark.slow
@pytest.mark.parametrize("key", ["ten", "half"])
def test_all_answers_are_enumerated_with_their_probabilities_and_rewards(plain, trainer_of, key):
    trainer = trainer_of(
        *ENUMERATED, f"task.dimensions=[{key}]", "trainer.rewards.format.weight=0",
        "trainer.args.scale_rewards=none",
    )  # fmt: skip
    (inputs,) = generate(trainer, 0)
    group = trainer.groups(0, 0)
    tokens = zip(inputs["completion_ids"].tolist(), inputs["completion_mask"].sum(-1), strict=True)
    read = [trainer.read(group, 0, ids[:length]) for ids, length in tokens]
    assert [each.text for each in read] == [f"<answer>{text}</answer>" for text in ANSWERS[key]]
    assert all(each.well_formed for each in read)
    assert [each.answers[0].score for each in read] == list(POINTS[key])
    ratings = group.record.ratings[key]
    mean, reach = sum(ratings) / len(ratings), POINTS[key][-1] - POINTS[key][0]
    distance = torch.tensor([1 - abs(point - mean) / reach for point in POINTS[key]])
    rewards = trainer.rewards.total(inputs["rewards"])
    torch.testing.assert_close(rewards, distance, atol=1e-6, rtol=0)
    log_p = (check_parity(plain, trainer, inputs) * inputs["completion_mask"]).sum(-1)
    probabilities = log_p.softmax(-1)
    weighted_inputs = loss_inputs(trainer, inputs)
    advantages = rewards - (probabilities * rewards).sum()
    torch.testing.assert_close(weighted_inputs["advantages"], advantages, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        weighted_inputs["tool_mask"][:, 0], probabilities * len(probabilities), atol=1e-3, rtol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [(), ENUMERATED])
def test_a_training_step_on_all_scales_has_a_finite_gradient(trainer_of, estimator, small_judge):
    trainer = trainer_of(
        small_judge, *estimator, "trainer.args.max_steps=1", "trainer.args.max_completion_length=16",
        "+trainer.rewards.mine={_target_: grpo_trainers.by_letters}",
    )  # fmt: skip
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert math.isfinite(entry["grad_norm"])
    assert entry["grad_norm"] > 0
