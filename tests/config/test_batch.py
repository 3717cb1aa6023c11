"""Batch arithmetic: expected factors worked out by hand."""

import pytest

from dramaeval.config.batch_size import BatchError, step_size
from dramaeval.config.problems import ConfigError
from dramaeval.stages.checks import check


@pytest.mark.parametrize(
    ("overrides", "processes", "factors"),
    [
        ([], 1, (4, 1)),
        ([], 4, (4, 1)),
        (["batch.global=64", "batch.per_device=4"], 1, (4, 16)),
        (["batch.global=64", "batch.per_device=4"], 2, (4, 8)),
        (["batch.global=64", "batch.per_device=4"], 16, (4, 1)),
        (["batch.global=64", "trainer.args.per_device_train_batch_size=2"], 2, (2, 16)),
        (["batch.global=6"], 1, (3, 2)),  # the largest share up to 4 that divides
        (["batch.global=22"], 2, (1, 11)),
        (["trainer.args.per_device_train_batch_size=3", "trainer.args.gradient_accumulation_steps=5"], 2,
         (3, 5)),
        (["batch.per_device=3", "trainer.args.gradient_accumulation_steps=5"], 1, (3, 5)),
        (["batch.global=30", "batch.per_device=3", "trainer.args.gradient_accumulation_steps=5"], 2, (3, 5)),
    ],
)  # fmt: skip
def test_the_factors(composed, overrides, processes, factors):
    step = step_size(composed(*overrides), processes)
    assert (step.per_device, step.accumulation) == factors
    assert step.clips == factors[0] * factors[1] * processes


@pytest.mark.parametrize(
    ("overrides", "processes", "message"),
    [
        (["batch.global=64"], 3, "Nearest that do: batch.global=63 or 66, or processes=2 or 4"),
        (["batch.global=2"], 3, "Nearest that do: batch.global=3, or processes=2"),
        (["batch.global=64", "batch.per_device=5"], 2,
         "leaves 32 clips each.*batch.per_device=4 or 8, or batch.global=60 or 70"),
        (["batch.global=64", "batch.per_device=4", "trainer.args.gradient_accumulation_steps=2"], 2,
         "needs 8 accumulated batches, but trainer.args.gradient_accumulation_steps=2"),
        (["batch.per_device=4", "trainer.args.per_device_train_batch_size=2"], 1, "contradicts"),
        (["batch.global=0"], 1, "batch.global=0 must be a whole number of 1 or more"),
    ],
)  # fmt: skip
def test_what_does_not_work_names_what_would(composed, overrides, processes, message):
    with pytest.raises(BatchError, match=message):
        step_size(composed(*overrides), processes)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["processes=0"], "processes=0 must be 1 or more"),
        (["processes=3", "batch.global=64"], "does not divide among 3 processes"),
        (["zero=zero2", "+zero.zero_optimization.stge=1"], "stge is not a setting of.*Did you mean stage"),
        (["zero=zero2", "zero.zero_optimization.reduce_bucket_size=auto"], "size=auto: give a value"),
        (["zero=zero2", "zero.zero_optimization.stage=4"], "must be 1, 2 or 3"),
        (["zero=zero1", "stages=[evaluate]"], "stages has no train"),
    ],
)  # fmt: skip
def test_what_processes_and_zero_need_is_checked(composed, overrides, message):
    with pytest.raises(ConfigError, match=message):
        check(composed(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["zero=zero2_offload"], "offload_optimizer moves memory from a GPU.*choose zero=zero2"),
        (["zero=zero3_offload"], "offload_param moves memory from a GPU.*choose zero=zero3"),
        (["zero=zero2", "model.dtype=bfloat16"], "needs a GPU: use model.dtype=float32"),
    ],
)
def test_what_needs_a_gpu_is_refused_without_one(composed, monkeypatch, overrides, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        check(composed(*overrides))


def test_every_stage_composes_without_a_value_left_to_chance(composed):
    stages = {}
    for name in ("zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"):
        settings = composed(f"zero={name}").zero.zero_optimization
        assert "auto" not in settings.values()
        stages[name] = (
            settings.stage,
            "offload_optimizer" in settings,
            "offload_param" in settings,
        )
    assert stages == {
        "zero1": (1, False, False), "zero2": (2, False, False), "zero3": (3, False, False),
        "zero2_offload": (2, True, False), "zero3_offload": (3, True, True),
    }  # fmt: skip
