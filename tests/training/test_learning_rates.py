"""Learning rates of parts of the model."""

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.models.adapters import part_of
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import check_context
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer

QUICK = (
    "device=cpu", "task.dimensions=[pitch_dynamics]", "trainer.args.per_device_train_batch_size=2",
    "trainer.args.max_steps=1", "trainer.args.warmup_steps=0", "trainer.args.save_strategy=no",
    "trainer.args.eval_strategy=no", "trainer.args.load_best_model_at_end=false", "trainer.args.weight_decay=0",
    "trainer.args.lr_scheduler_type=constant", "trainer.args.learning_rate=1e-3", "stages=[train]",
)  # fmt: skip
RATES = ("trainer.learning_rates.audio=1e-5", "trainer.learning_rates.projector=4e-3")


@pytest.fixture
def run_of(composed, make_clips, tmp_path, small_judge):
    def build(*overrides):
        config = composed(
            *QUICK, small_judge, f"task.data.train={make_clips('train', 4)}", *overrides
        )
        check(config)
        return RunContext(config, RunFolder(tmp_path / "run"))

    return build


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["none", "lora"])
def test_the_first_step_moves_the_weights_of_each_part_by_its_rate(run_of, peft):
    """Adam's first step is rate · g / (|g| + eps) (Kingma and Ba 2015): slightly less than the rate."""
    adapt = ["adapt=[audio,projector,llm]"] if peft == "lora" else []
    run = run_of(f"peft={peft}", *adapt, *RATES)
    trainer = make_trainer(run)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    largest_changes = {}
    for name, weight in trainer.model.named_parameters():
        part, change = part_of(name, run.family), (weight - before[name]).abs().max().item()
        largest_changes[part] = max(largest_changes.get(part, 0.0), change)
    for part, rate in (("audio", 1e-5), ("projector", 4e-3), ("llm", 1e-3)):
        assert largest_changes[part] == pytest.approx(rate, rel=0.02)


def test_groups_keep_their_decay_and_hold_each_weight_once(run_of):
    run = run_of("trainer.args.weight_decay=0.1", "peft=none", *RATES)
    trainer = make_trainer(run)
    optimizer = trainer.create_optimizer()
    names = {weight: name for name, weight in trainer.model.named_parameters()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    assert len(weights) == len(set(weights))
    assert set(weights) == {w for w in trainer.model.parameters() if w.requires_grad}
    for group in optimizer.param_groups:
        for weight in group["params"]:
            decays = weight.ndim > 1 and "norm" not in names[weight]
            assert group["weight_decay"] == (0.1 if decays else 0.0), names[weight]
    assert trainer.create_optimizer() is optimizer
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [1e-5, 1e-3, 4e-3]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("+trainer.learning_rates.adapter=1e-4", ["trainer.learning_rates", "adapter", "projector"]),
        ("trainer.learning_rates.llm=0", ["trainer.learning_rates.llm", "above 0"]),
        ("trainer.learning_rates.llm=fast", ["trainer.learning_rates", "fast"]),
        ("trainer.learning_rates=1e-4", ["trainer.learning_rates", "0.0001"]),
    ],
)  # fmt: skip
def test_invalid_learning_rates_are_refused(run_of, setting, words):
    with pytest.raises(ConfigError) as error:
        run_of(setting)
    assert all(word in str(error.value) for word in words)


def test_a_rate_of_a_part_that_is_not_trained_is_a_problem_of_the_plan(run_of):
    """By default LoRA trains only the language model."""
    run = run_of(*RATES)
    with pytest.raises(ConfigError, match=r"learning_rates\.audio=1e-05, but no weight") as error:
        check_context(run, starts=True)
    assert "learning_rates.projector=0.004, but no weight" in str(error.value)
