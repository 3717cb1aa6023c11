"""A training that changes no weight or no score, and a dimension without ratings, are reported."""

import json
import logging

import pytest
import torch

from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.evaluate import _warn_without_change
from dramaeval.stages.predictions_file import PhasePredictions
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.training.training_effect import largest_change, no_effect, weight_sums


def constant(logits, batch):
    """An objective without a gradient."""
    return logits.sum() * 0 + torch.ones(batch.questions)


def test_the_cause_follows_from_the_learning_rate_and_the_gradient_norm():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    start = weight_sums(layer)
    assert set(start) == {"weight"}
    for history, words in (
        ([{"learning_rate": 1e-3, "grad_norm": 0.0}], ["gradient norm 0;", "the gradients are 0"]),
        ([{"learning_rate": 0.0, "grad_norm": 2.0}], ["learning rate 0,", "trainer.args.learning_rate"]),
        ([{"learning_rate": 1e-9, "grad_norm": 2.0}, {"eval_mse": 1.0}], ["learning rate 1e-09", "precision"]),
        ([], ["learning rate not logged", "the cause is unknown", "logging_steps=1"]),
    ):  # fmt: skip
        text = no_effect(start, weight_sums(layer), history)
        assert all(word in text for word in ["Training changed no weight", *words])
    with torch.no_grad():
        layer.weight[1, 2] += 1e-6
    assert no_effect(start, weight_sums(layer), []) == ""
    assert "by weight decay only" in no_effect(start, weight_sums(layer), [{"grad_norm": 0.0}])


def prediction(expected, dimension="pitch"):
    return Prediction(
        id="a", dimension=dimension, scale=(1.0, 2.0, 3.0, 4.0, 5.0), distribution=None, expected=expected,
        ratings=(3.0,), state=SCORED if expected else "unread",
    )  # fmt: skip


def test_the_largest_change_of_a_score_is_relative_to_the_range_of_its_scale():
    before = [prediction(2.0), prediction(3.0, "tempo"), prediction(None, "pace")]
    after = [prediction(2.5), prediction(2.0, "tempo"), prediction(3.0, "pace")]
    assert largest_change(before, after) == pytest.approx(1 / 4)
    assert largest_change(before, before) == 0
    assert largest_change([], after) is None


def test_evaluation_warns_if_training_changed_no_score(caplog):
    phases = {"zero_shot": PhasePredictions(), "final": PhasePredictions()}
    phases["zero_shot"].ratings["val"] = [prediction(2.0)]
    for score, warned in ((2.5, False), (2.001, True)):
        phases["final"].ratings["val"] = [prediction(score)]
        _warn_without_change(phases)
        assert ("Training changed no expected score by more than 0.00025" in caplog.text) == warned


@pytest.mark.slow
def test_a_training_without_gradients_and_an_unrated_dimension_are_reported(
    composed, make_clips, tmp_path, caplog, small_judge
):
    train = make_clips("train", 4)
    lines = [json.loads(line) for line in train.read_text().splitlines()]
    for line in lines:
        line["annotations"]["trait_embodiment"] = [None] * 6
    train.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = composed(
        small_judge,
        f"task.data.train={train}", f"task.data.val={make_clips('val', 3, seed=1)}", "device=cpu", "logger=none",
        "task.dimensions=[pitch_dynamics,trait_embodiment]", "trainer.args.max_steps=2",
        "trainer.args.eval_strategy=no", "trainer.args.save_strategy=no",
        "trainer.args.load_best_model_at_end=false", "trainer.args.logging_steps=1", "trainer.objective=constant",
        "trainer.objectives.constant={_target_: tests.training.test_training_effect.constant, _partial_: true}",
    )  # fmt: skip
    check(config)
    caplog.set_level(logging.WARNING)
    trainer = make_trainer(RunContext(config, RunFolder(tmp_path / "run")))
    assert "nobody rated trait_embodiment" in caplog.text
    assert "pitch_dynamics" not in caplog.text.partition("nobody rated")[2].partition("task.dim")[0]
    trainer.train()
    assert "Training changed weights by weight decay only. Largest learning rate" in caplog.text
    assert "largest gradient norm 0; the gradients are 0" in caplog.text
    # A training shorter than trainer.args.logging_steps has logged no learning rate and no gradient norm.
    caplog.clear()
    caplog.set_level(logging.INFO)
    trainer.state.log_history = []
    trainer._effect.report(trainer.model, trainer.state)
    assert caplog.text == ""
