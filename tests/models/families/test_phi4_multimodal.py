"""What Phi-4-multimodal has and other families have not: the checkpoint's adapter for speech, and its parts."""

import logging
import shutil

import numpy as np
import pytest
import torch
from audio_kinds import TINY
from peft import PeftModel
from phi_kinds import Phi4
from transformers import AutoTokenizer, Phi4MultimodalForCausalLM

from dramaeval.models.adapters import attach, count_parameters
from dramaeval.models.families.phi4_multimodal import SPEECH_ADAPTER, Phi4Multimodal
from dramaeval.stages.training_arguments import build_adapter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("phi4")
    Phi4.write(path, AutoTokenizer.from_pretrained(TINY))
    return path


def test_the_speech_adapter_is_merged_into_the_layers(folder, tmp_path, caplog):
    plain = Phi4MultimodalForCausalLM.from_pretrained(folder)
    base = {name: weight.clone() for name, weight in plain.state_dict().items()}
    merged = PeftModel.from_pretrained(plain, folder / SPEECH_ADAPTER).merge_and_unload()
    expected = merged.state_dict()
    judge = Phi4Multimodal(path=str(folder)).load(CPU).state_dict()
    assert judge.keys() == base.keys()
    changed = {name for name, weight in judge.items() if not torch.equal(weight, base[name])}
    layers = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
    assert len(changed) == 2 * len(layers)
    assert all(name.startswith("model.layers.") for name in changed)
    for name in judge:
        torch.testing.assert_close(judge[name], expected[name])

    shutil.copytree(folder, tmp_path / "none", ignore=lambda *_: [SPEECH_ADAPTER])
    with caplog.at_level(logging.WARNING):
        bare = Phi4Multimodal(path=str(tmp_path / "none"), head="regression").load(CPU)
    assert f"has no folder {SPEECH_ADAPTER}" in caplog.text
    assert torch.equal(
        bare.model.layers[0].mlp.down_proj.weight, base["model.layers.0.mlp.down_proj.weight"]
    )
    # A regression head and an adapter of the checkpoint go together.
    assert Phi4Multimodal(path=str(folder), head="regression").load(CPU).score_head is not None


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (400, 1), (1679, 8), (1680, 9)])
def test_features_and_prompt_positions(folder, samples, frames):
    family = Phi4Multimodal(path=str(folder))
    clip = family.log_mel(family.processor())(np.full(samples, 0.1, np.float32))
    assert clip.values.shape == (80, frames)
    assert clip.frames == frames
    assert family.audio_tokens(frames) == (frames + 7) // 8


@pytest.mark.parametrize(
    ("adapt", "given", "layers"),
    [("llm", "", 8), ("llm", "peft.layers_to_transform=[1]", 4), ("all", "", 8 + 2 * 8 + 2)],
)
def test_adapters_attach_to_the_layers_of_their_part(folder, composed, adapt, given, layers):
    family = Phi4Multimodal(path=str(folder))
    config = composed(
        "model=phi4_multimodal", f"model.path={folder}", f"adapt={adapt}", *filter(None, [given])
    )
    model = attach(family.skeleton(), build_adapter(config, family))
    adapted = {
        name.partition(".lora_")[0]
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    assert len(adapted) == layers
    assert not any("vision" in name or "image" in name for name in adapted)
    counts = count_parameters(model, family)
    assert counts["llm"][0] > 0
    assert (counts["audio"][0] > 0) == (adapt == "all")


def test_a_frozen_language_model_has_no_trained_weight_but_the_encoder(folder):
    family = Phi4Multimodal(path=str(folder), freeze_llm=True)
    judge = family.load(CPU)
    family.freeze_fixed(judge)
    trained = {name for name, weight in judge.named_parameters() if weight.requires_grad}
    assert trained
    assert all(name.startswith("model.embed_tokens_extend.audio_embed.") for name in trained)
