"""DeepSpeed's configuration, and that a training which is not the one asked for stops."""

import pytest

from dramaeval.config.batch_size import StepSize
from dramaeval.distributed.reshard import parts
from dramaeval.distributed.zero import ZeroEngineCheck, fill_zero_config
from dramaeval.models.errors import ModelError
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer


def test_nothing_is_left_to_chance(composed):
    zero = composed("zero=zero3").zero
    found = fill_zero_config(zero, {"max_grad_norm": 0.5, "bf16": True}, StepSize(4, 8, 2))
    assert found["train_micro_batch_size_per_gpu"] == 4
    assert found["gradient_accumulation_steps"] == 8
    assert found["gradient_clipping"] == 0.5
    assert (found["bf16"], found["fp16"]) == ({"enabled": True}, {"enabled": False})
    assert found["zero_optimization"]["stage"] == 3
    assert found["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert "auto" not in str(found)


def test_a_training_without_deepspeed_stops_before_its_first_step(composed, make_clips, tmp_path):
    """As transformers runs one, without a word, where it does not find what it needs for DeepSpeed."""
    file = make_clips("train", 2, seconds=[0.4])
    config = composed(
        "device=cpu", "logger=none", "task.dimensions=[pitch_dynamics]", f"task.data.train={file}",
        "trainer.args.save_strategy=no", "trainer.args.max_steps=1", f"task.data.val={file}",
        "trainer.args.load_best_model_at_end=false",
    )  # fmt: skip
    check(config)
    trainer = make_trainer(RunContext(config, RunFolder(tmp_path / "run")))
    trainer.add_callback(ZeroEngineCheck(trainer, composed("zero=zero2").zero, StepSize(4, 1, 2)))
    with pytest.raises(ModelError) as raised:
        trainer.train()
    assert "zero asks for DeepSpeed, but the model runs as PeftModel" in str(raised.value)
    assert "processes: asked 2, but the trainer counts 1" in str(raised.value)
    assert trainer.state.global_step == 0


def test_parts_of_a_checkpoint(tmp_path):
    assert parts(tmp_path) == 0
    (tmp_path / "latest").write_text("global_step3")
    (tmp_path / "global_step3").mkdir()
    for rank in range(4):
        (tmp_path / "global_step3" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    assert parts(tmp_path) == 4
