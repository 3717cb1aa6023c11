"""``trainer.args.bf16=true`` computes in bfloat16 with float32 weights, on a CPU too."""

import logging

import pytest
import torch

from dramaeval.models.forward.judge_model import unwrap_judge
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer


def short_training(composed, small_judge, train, folder, *overrides):
    """The losses of two steps, the data types that the language model's linear layers return, and the trainer."""
    config = composed(
        small_judge, f"task.data.train={train}", "task.data.val=null", "task.data.test=null", "device=cpu",
        "logger=none", "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=2", "trainer.args.eval_strategy=no",
        "trainer.args.save_strategy=no", "trainer.args.load_best_model_at_end=false", "trainer.args.logging_steps=1",
        "stages=[train]", *overrides,
    )  # fmt: skip
    check(config)
    trainer = make_trainer(RunContext(config, RunFolder(folder)))
    returned = set()
    for name, module in unwrap_judge(trainer.model).named_modules():
        if name.endswith("mlp.down_proj"):
            module.register_forward_hook(lambda *args: returned.add(args[2].dtype))
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    return losses, returned, trainer


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_weights_stay_float32_and_the_loss_is_that_of_float32_within_rounding(
    adapter, composed, make_clips, tmp_path, small_judge, caplog
):
    caplog.set_level(logging.INFO)
    train = make_clips("train", 4)
    runs = {}
    for chosen in ("null", "true"):
        words = (f"trainer.args.bf16={chosen}", f"peft={adapter}")
        runs[chosen] = short_training(composed, small_judge, train, tmp_path / chosen, *words)
    assert runs["null"][1] == {torch.float32}
    assert runs["true"][1] == {torch.bfloat16}
    for _, _, trainer in runs.values():
        assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}
    exact, rounded = runs["null"][0], runs["true"][0]
    assert len(exact) == 2
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)
    assert caplog.text.count("parameters in bfloat16, with float32 weights.") == 1


def test_two_16_bit_forms_contradict_each_other(composed, monkeypatch):
    from dramaeval.models import settings

    config = composed("trainer.args.bf16=true", "model.dtype=float16", "peft=lora")
    messages = settings._dtype_problems(config, gpu=True, trains=True)
    assert messages == [
        "trainer.args.bf16=true computes in bfloat16, and model.dtype=float16 in float16: leave one of them out."
    ]
    config = composed("trainer.args.bf16=true", "peft=lora")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    messages = settings._dtype_problems(config, gpu=True, trains=True)
    assert messages == ["trainer.args.bf16=true is not supported by this GPU: leave it out."]
