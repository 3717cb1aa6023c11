"""Settings of DeepSpeed are checked before a run starts."""

import re

import pytest


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["zero=zero2", "+zero.zero_optimization.stge=1", "zero.zero_optimization.reduce_bucket_size=auto"],
         ["stge is not a setting of DeepSpeed. Did you mean stage", "size='auto' must be a number"]),
        (["zero=zero2_offload", "zero.zero_optimization.offload_optimizer.devic=cpu"],
         ["zero.zero_optimization.offload_optimizer.devic is not a setting of DeepSpeed. Did you mean device"]),
        (["zero=zero2", "zero.zero_optimization.stage=4"], ["stage=4 is not known; choose one of 1, 2, 3"]),
        (["zero=zero2", "+zero.data_types.grad_accum_dtype=auto"], ["grad_accum_dtype=auto: give a value"]),
        (["zero=zero2_offload"], ["offload_optimizer moves memory from a GPU", "choose zero=zero2"]),
        (["zero=zero3_offload", "model.dtype=bfloat16"],
         ["offload_param moves memory from a GPU", "choose zero=zero3", "needs a GPU: use model.dtype=float32"]),
    ],
)  # fmt: skip
def test_settings_that_deepspeed_cannot_use_here(problems_of, monkeypatch, overrides, messages):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = "\n".join(problems_of(*overrides))
    for message in messages:
        assert message in found


@pytest.mark.slow
def test_the_zero_files_have_their_stage_and_offloading_and_no_auto(composed):
    files = {}
    for name in ("zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"):
        settings = composed(f"zero={name}").zero.zero_optimization
        assert not re.search(r"\bauto\b", str(settings))
        files[name] = [settings.stage, "offload_optimizer" in settings, "offload_param" in settings]
    assert files == {
        "zero1": [1, False, False], "zero2": [2, False, False], "zero3": [3, False, False],
        "zero2_offload": [2, True, False], "zero3_offload": [3, True, True],
    }  # fmt: skip
