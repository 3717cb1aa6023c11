"""What cannot run on this machine is said before it is tried."""

import pytest
import torch

from dramaeval.config.problems import ConfigError
from dramaeval.stages.checks import check

EVALUATE = "stages=[evaluate]"


def problems(config):
    try:
        check(config)
    except ConfigError as error:
        return "\n".join(error.problems)
    return ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.dtype=float16", "device=cpu"], "model.dtype=float16 is for GPUs"),
        (["model.attention=flash_attention_2", "batch.shared_prefix=false", "device=cpu"],
         "flash_attention_2 needs a GPU"),
        (["model.device_map=auto"], "stages has train: train with zero=zero3"),
        ([EVALUATE, "model.device_map=everywhere"], "device_map=everywhere is not known; choose one of auto"),
        ([EVALUATE, "device=cpu", "model.device_map=cuda:0"], "names a GPU"),
        ([EVALUATE, "device=cpu", "+model.device_map={model: cpu, lm_head: 0}"], "names a GPU"),
        ([EVALUATE, "+model.device_map={model: disk, lm_head: cpu}"], "model.offload_folder=FOLDER"),
        ([EVALUATE, "model.offload_folder=x"], "only used with model.device_map"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_said(composed, overrides, message):
    assert message in problems(composed(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.dtype=bfloat16", "device=cpu"],
        [EVALUATE, "model.device_map=auto"],
        [EVALUATE, "model.device_map=cpu"],
        [EVALUATE, "+model.device_map={model: disk, lm_head: cpu}", "model.offload_folder=x"],
        ["model.attention=eager", "batch.shared_prefix=false"],
        ["trainer.args.gradient_checkpointing=true"],
    ],
)
def test_what_works_passes(composed, overrides):
    assert problems(composed(*overrides)) == ""


def test_one_process_alone_spreads_a_model(composed, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "2 processes" in problems(composed(EVALUATE, "model.device_map=auto"))


class Gpu:
    """Stands for a GPU of another kind; PyTorch is asked and answers."""

    def __init__(self, patch, bf16):
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)


def test_precision_follows_the_gpu(composed, monkeypatch):
    Gpu(monkeypatch, bf16=False)
    assert "this GPU has none" in problems(composed("model.dtype=bfloat16"))
    assert problems(composed("model.dtype=float16")) == ""
    assert "cannot be trained in full" in problems(composed("model.dtype=float16", "peft=none"))


def test_flash_attention_needs_its_package_and_16_bits(composed, monkeypatch):
    Gpu(monkeypatch, bf16=True)
    monkeypatch.setattr("dramaeval.config.placement.find_spec", lambda name: None)
    flash = ("model.attention=flash_attention_2", "batch.shared_prefix=false")
    assert "pip install flash-attn" in problems(composed(*flash))
    monkeypatch.setattr("dramaeval.config.placement.find_spec", lambda name: object())
    assert problems(composed(*flash)) == ""
    assert "16 bits" in problems(composed(*flash, "model.dtype=float32"))
    assert "model.dtype=bfloat16" in problems(composed(*flash, "peft=none"))
    assert problems(composed(*flash, "peft=none", "model.dtype=bfloat16")) == ""


def test_everything_is_said_once(composed):
    words = ("model.attention=flash_attention_2", "batch.shared_prefix=false", "device=cpu")
    with pytest.raises(ConfigError) as raised:
        check(composed(*words))
    assert sum("a GPU" in one for one in raised.value.problems) == 1
