"""Settings of the model that this machine does not support are reported before anything is read."""

import pytest
import torch

EVALUATE = "stages=[evaluate]"


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (["model.dtype=float16", "model.attention=flash_attention_2", "device=cpu", "model.device_map=auto"],
         ["model.dtype=float16 is for GPUs", "flash_attention_2 needs a GPU", "batch.shared_prefix=false",
          "stages has train: train with zero=zero3"]),
        ([EVALUATE, "model.device_map=everywhere"], ["device_map=everywhere is not known; choose one of auto"]),
        ([EVALUATE, "device=cpu", "model.device_map=cuda:0"], ["names a GPU"]),
        ([EVALUATE, "device=cpu", "+model.device_map={model: disk, lm_head: 0}"],
         ["names a GPU", "model.offload_folder=FOLDER"]),
        ([EVALUATE, "model.offload_folder=x"], ["only used with model.device_map"]),
        (["model=causal_lm", "model.path=x", "model.freeze_audio=true", "model.train_projector=false"],
         ["model.freeze_audio=true: this model has no separate audio part",
          "model.train_projector=false: this model has no separate projector part"]),
        (["model=qwen2_5_omni", "model.path=x", "model.train_projector=false", "model.freeze_audio=true"],
         ["model.train_projector=false: this model has no separate projector part"]),
    ],
)  # fmt: skip
def test_unsupported_settings_are_reported(problems_of, overrides, messages):
    problems = problems_of(*overrides)
    assert len(problems) >= len(messages) - 1
    for message in messages:
        assert any(message in problem for problem in problems)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.dtype=bfloat16", "device=cpu", "trainer.args.gradient_checkpointing=true"],
        [EVALUATE, "model.device_map=auto"],
        [EVALUATE, "+model.device_map={model: disk, lm_head: cpu}", "model.offload_folder=x"],
        ["model.attention=eager", "batch.shared_prefix=false", "model.freeze_audio=true"],
    ],
)
def test_supported_settings_are_accepted(problems_of, overrides):
    assert problems_of(*overrides) == []


def test_a_device_map_with_several_processes_is_refused(problems_of, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    (problem,) = problems_of(EVALUATE, "model.device_map=auto")
    assert "2 processes" in problem


def pretend_gpu(patch, *, bf16):
    """Let PyTorch report a GPU with or without support of bfloat16."""
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)


def test_the_dtype_must_be_supported_by_the_gpu(problems_of, monkeypatch):
    pretend_gpu(monkeypatch, bf16=False)
    assert "not supported by this GPU" in problems_of("model.dtype=bfloat16")[0]
    assert problems_of("model.dtype=float16") == []
    assert "cannot be trained in full" in problems_of("model.dtype=float16", "peft=none")[0]


@pytest.mark.slow
def test_flash_attention_needs_its_package_and_a_16_bit_dtype(problems_of, monkeypatch):
    pretend_gpu(monkeypatch, bf16=True)
    monkeypatch.setattr("dramaeval.models.settings.find_spec", lambda name: None)
    flash = ("model.attention=flash_attention_2", "batch.shared_prefix=false")
    assert "pip install flash-attn" in problems_of(*flash)[0]
    monkeypatch.setattr("dramaeval.models.settings.find_spec", lambda name: object())
    assert problems_of(*flash) == []
    assert "16 bits" in problems_of(*flash, "model.dtype=float32")[0]
    assert "model.dtype=bfloat16" in problems_of(*flash, "peft=none")[0]
    assert problems_of(*flash, "peft=none", "model.dtype=bfloat16") == []
