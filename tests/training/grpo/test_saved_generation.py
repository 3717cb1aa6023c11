"""GRPO resumes from a checkpoint, even if it was saved between two passes over one generation."""

import pytest
import torch
from clips import write_clips, write_pairs

from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer

SETTINGS = (
    "trainer=grpo", "stages=[train]", "device=cpu", "logger=none",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "trainer.args.per_device_train_batch_size=1", "trainer.args.num_generations=2",
    "trainer.args.max_completion_length=8", "trainer.args.max_steps=7", "trainer.args.logging_steps=1",
    "trainer.args.save_steps=1", "trainer.args.save_total_limit=null", "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false", "trainer.args.learning_rate=0.01",
    # This reward differs between the answers of a random judge; most others do not.
    "+trainer.rewards.mine={_target_: grpo_trainers.by_letters}",
)  # fmt: skip

PAIRS = (
    ("task=pair", "trainer.rewards.distance.weight=0", "trainer.rewards.pair_accuracy.weight=1"),
    ("task=pair_direct",),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        (),
        # A generation has two passes, each repeated once, so steps 1 to 3 are before its last pass.
        ("trainer.args.num_iterations=2", "trainer.args.steps_per_generation=2"),
        ("trainer.estimator=enumerated", "trainer.args.num_generations=null",
         "trainer.args.num_iterations=2"),
        *PAIRS,
    ],
)  # fmt: skip
def test_a_resumed_training_ends_with_the_same_weights(composed, tmp_path, settings, small_judge):
    train = write_clips(tmp_path, "train", 5, seconds=(0.3, 0.6))
    if settings in PAIRS:
        train = write_pairs(train)
        settings = (*settings, "task.dimensions=[human_likeness,appropriateness]")
    config = composed(*SETTINGS, small_judge, *settings, f"task.data.train={train}")
    check(config)

    def trained(name, resume=None):
        run = RunContext(config, RunFolder(tmp_path / name))
        make_plan(run)
        trainer = make_trainer(run, resume)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        weights = {
            n: w.detach().clone() for n, w in trainer.model.named_parameters() if w.requires_grad
        }
        norms = {e["step"]: e["grad_norm"] for e in trainer.state.log_history if "grad_norm" in e}
        return weights, norms

    weights, norms = trained("uninterrupted")
    assert any(value > 0 for value in norms.values())
    for step in (3, 6):  # 6 is in the second epoch
        resumed, later = trained(
            f"from{step}", tmp_path / "uninterrupted" / "checkpoints" / f"checkpoint-{step}"
        )
        assert {at: norms[at] for at in norms if at > step} == {
            at: later[at] for at in later if at > step
        }
        assert all(torch.equal(value, resumed[name]) for name, value in weights.items())
