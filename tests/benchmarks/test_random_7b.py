"""The random checkpoint of the size of the 7B model: its parameters, its weight names, and loading it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from benchmarks.midsize import TINY
from benchmarks.random_7b import PARAMETERS, architecture, old_name, write_checkpoint


def test_the_architecture_has_the_parameters_of_the_7b():
    config = Qwen2AudioConfig(**architecture(Qwen2AudioProcessor.from_pretrained(TINY)))
    with torch.device("meta"):
        model = Qwen2AudioForConditionalGeneration(config)
    assert sum(weight.numel() for weight in model.parameters()) == PARAMETERS


def test_weight_names_are_those_of_the_published_checkpoint():
    # Names in model.safetensors.index.json of Qwen2-Audio-7B-Instruct.
    assert {
        old_name("model.audio_tower.conv1.bias"),
        old_name("model.multi_modal_projector.linear.weight"),
        old_name("model.language_model.layers.3.mlp.up_proj.weight"),
        old_name("model.language_model.embed_tokens.weight"),
        old_name("lm_head.weight"),
    } == {
        "audio_tower.conv1.bias",
        "multi_modal_projector.linear.weight",
        "language_model.model.layers.3.mlp.up_proj.weight",
        "language_model.model.embed_tokens.weight",
        "language_model.lm_head.weight",
    }


@pytest.mark.slow
def test_every_weight_of_the_checkpoint_is_loaded(tmp_path):
    processor = tmp_path / "processor"
    processor.mkdir()
    for file in TINY.iterdir():
        if file.is_file() and file.suffix != ".safetensors":
            shutil.copy(file, processor / file.name)
    folder = write_checkpoint(tmp_path / "checkpoint", processor, small=True)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    stored = {
        name: weight
        for file in folder.glob("*.safetensors")
        for name, weight in load_file(file).items()
    }
    assert set(stored) == set(index["weight_map"])
    model, report = Qwen2AudioForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.bfloat16
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, stored[old_name(name)]), name
    # A second call leaves the files as they are.
    before = (folder / "config.json").stat().st_mtime_ns
    write_checkpoint(folder, processor, small=True)
    assert (folder / "config.json").stat().st_mtime_ns == before
