"""What Gemma 3n and Gemma 4 have and other families have not."""

import json
import logging

import numpy as np
import pytest
import torch
from gemma_kinds import Gemma3n, Gemma4
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig

from dramaeval.models.errors import ModelError
from dramaeval.models.quantization import for_language_model, packed_bytes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with a small random model of each kind."""
    written = {}
    for kind in (Gemma3n, Gemma4):
        torch.manual_seed(0)
        written[kind] = tmp_path_factory.mktemp(kind.name)
        kind.write(written[kind], None)
    return written


# Gemma 3n: windows of 513 samples every 160 in a clip filled up to a multiple of 128; 188 positions.
# Gemma 4: windows of 321 samples every 160 from 160 before the clip, none of which exceeds it; four frames a position.
@pytest.mark.parametrize(
    ("kind", "samples", "frames", "positions"),
    [
        (Gemma3n, 512, 0, 0),
        (Gemma3n, 513, 1, 188),
        (Gemma3n, 1760, 8, 188),
        (Gemma3n, 480_000, 2997, 188),
        (Gemma4, 160, 0, 0),
        (Gemma4, 161, 1, 1),
        (Gemma4, 800, 4, 1),
        (Gemma4, 801, 5, 2),
        (Gemma4, 480_000, 2999, 750),
    ],
)
def test_features_and_prompt_positions(folders, kind, samples, frames, positions):
    family = kind.family(path=str(folders[kind]))
    clip = family.log_mel(family.processor())(np.full(samples, 0.1, np.float32))
    assert clip.values.shape == (128, frames)
    assert (clip.frames, family.audio_tokens(clip.frames)) == (frames, positions)


def test_gemma_3n_is_loaded_without_its_image_encoder(folders, tmp_path, caplog):
    for file in folders[Gemma3n].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    images = {"model.vision_tower.timm_model.conv_stem.conv.weight": torch.ones(2, 3, 3, 3)}
    save_file(weights | images, tmp_path / "model.safetensors", {"format": "pt"})
    family = Gemma3n.family(path=str(tmp_path))
    with caplog.at_level(logging.WARNING):
        judge = family.load(CPU)
    assert "vision_tower" not in caplog.text
    judge.save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[name], weights[name]) for name in saved)
    before, after = (
        json.loads((folder / "config.json").read_text())["vision_config"]
        for folder in (tmp_path, tmp_path / "saved")
    )
    assert after["model_type"] == before["model_type"] == "gemma3n_vision"


def test_clipped_layers_are_not_quantised(folders):
    family = Gemma3n.family(path=str(folders[Gemma3n]))
    skeleton = family.skeleton()
    settings = BitsAndBytesConfig(load_in_4bit=True)
    left_out = for_language_model(
        settings, family.parts, skeleton, torch.float32, family.unquantised
    ).llm_int8_skip_modules
    inside = {name for name in left_out if name.startswith("model.language_model.")}
    # Three layers (prediction, correction, router) of each of the four decoder layers, and nothing else.
    assert len(inside) == 12
    assert all(".altup." in name for name in inside)
    kept = sum(skeleton.get_submodule(name).weight.numel() for name in inside)
    everything, _ = packed_bytes(settings, skeleton, family.parts)
    assert (
        packed_bytes(settings, skeleton, family.parts, family.unquantised)[0] == everything - kept
    )


def test_gemma_4_without_an_audio_encoder_is_refused(folders, tmp_path):
    values = json.loads((folders[Gemma4] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "audio_config": None}))
    with pytest.raises(ModelError, match=r"no audio encoder .*E2B or E4B"):
        Gemma4.family(path=str(tmp_path)).read_configuration()
