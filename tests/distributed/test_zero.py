"""DeepSpeed's configuration, and the check that the running engine has its settings."""

import pytest

from dramaeval.config.batch_size import StepSize
from dramaeval.distributed.zero import EngineMismatchError, ZeroEngineCheck, fill_zero_config
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer
from dramaeval.training.resharding import count_parts


def test_the_filled_configuration_has_no_auto(composed):
    zero = composed("zero=zero3").zero
    filled = fill_zero_config(zero, {"max_grad_norm": 0.5, "bf16": True}, StepSize(4, 8, 2))
    assert filled["train_micro_batch_size_per_gpu"] == 4
    assert filled["gradient_accumulation_steps"] == 8
    assert filled["gradient_clipping"] == 0.5
    assert (filled["bf16"], filled["fp16"]) == ({"enabled": True}, {"enabled": False})
    assert filled["zero_optimization"]["stage"] == 3
    assert filled["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    assert "auto" not in str(filled)


@pytest.mark.slow
def test_a_training_without_deepspeed_stops_before_its_first_step(composed, make_clips, tmp_path):
    file = make_clips("train", 2, seconds=[0.4])
    config = composed(
        "device=cpu", "logger=none", "task.dimensions=[pitch_dynamics]", f"task.data.train={file}",
        "trainer.args.save_strategy=no", "trainer.args.max_steps=1", f"task.data.val={file}",
        "trainer.args.load_best_model_at_end=false",
    )  # fmt: skip
    check(config)
    trainer = make_trainer(RunContext(config, RunFolder(tmp_path / "run")))
    trainer.add_callback(ZeroEngineCheck(trainer, composed("zero=zero2").zero, StepSize(4, 1, 2)))
    with pytest.raises(EngineMismatchError) as raised:
        trainer.train()
    assert "zero needs DeepSpeed, but the model runs as PeftModel" in str(raised.value)
    assert "processes: configured 2, but the trainer counts 1" in str(raised.value)
    assert trainer.state.global_step == 0


def test_the_parts_of_a_checkpoint_are_counted(tmp_path):
    assert count_parts(tmp_path) == 0
    (tmp_path / "latest").write_text("global_step3")
    (tmp_path / "global_step3").mkdir()
    for rank in range(4):
        (tmp_path / "global_step3" / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    assert count_parts(tmp_path) == 4
