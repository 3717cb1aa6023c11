"""What Granite Speech has and other families have not: its features, its encoder in training, and its adapter."""

import numpy as np
import pytest
import torch
from audio_kinds import RATE, TINY, Granite
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from dramaeval.models.errors import ModelError
from dramaeval.models.families.granite_speech import GraniteSpeech

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("granite")
    Granite.write(path, AutoTokenizer.from_pretrained(TINY))
    return path


@pytest.fixture(scope="module")
def family(folder):
    return GraniteSpeech(path=str(folder))


@pytest.fixture(scope="module")
def log_mel(family):
    return family.log_mel(family.processor())


def noise(samples):
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)


# One frame more than started hops where the length is a multiple of 10 ms; 31 frames leave one out.
@pytest.mark.parametrize(
    ("samples", "frames", "tokens"),
    [(257, 2, 3), (4799, 30, 3), (4800, 30, 3), (4959, 30, 3), (4960, 32, 6), (48_000, 300, 30)],
)
def test_features_and_prompt_positions(family, log_mel, samples, frames, tokens):
    expected, count = Granite.features(noise(samples))
    clip = log_mel(noise(samples))
    assert (clip.frames, family.audio_tokens(clip.frames)) == (frames, tokens)
    assert (expected.shape[1] * 2, count) == (frames, tokens)
    ours = torch.from_numpy(clip.values).T.reshape(expected.shape)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    # The plan knows the started frames, and never plans less than the clip takes.
    assert family.audio_tokens(-(-samples // 160)) >= tokens


def test_a_clip_that_cannot_be_mirrored_has_no_position(family, log_mel):
    assert family.audio_tokens(log_mel(noise(256)).frames) == 0


def test_training_encodes_a_clip_as_scoring_does(family, log_mel):
    """Where the encoder is frozen, and where it is trained without dropout; other clips of the batch do not matter."""
    judge = family.load(CPU)
    clips = [log_mel(noise(size)) for size in (9000, 30_000)]
    width = max(clip.frames for clip in clips)
    batch = torch.stack(
        [torch.nn.functional.pad(torch.from_numpy(c.values), (0, width - c.frames)) for c in clips]
    )
    frames = torch.tensor([clip.frames for clip in clips])
    expected = judge.encode_audio(batch[:1, :, : frames[0]], frames[:1])[0]
    state = {name: value.clone() for name, value in judge.named_buffers()}
    judge.train()
    for module in judge.model.encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    torch.testing.assert_close(judge.encode_audio(batch, frames)[0], expected)
    judge = family.load(CPU)
    judge.model.encoder.requires_grad_(False)
    judge.train()
    torch.testing.assert_close(judge.encode_audio(batch, frames)[0], expected)
    assert judge.model.projector.training
    assert all(torch.equal(value, state[name]) for name, value in judge.named_buffers())


def published(weights, prefix=""):
    """Weights under the names of the published checkpoints."""
    names = {"lm_head": "language_model.lm_head", "model.language_model": "language_model.model"}
    named = {}
    for name, weight in weights.items():
        old = next((old for old in names if name.startswith(old)), "model.")
        named[prefix + names.get(old, "") + name.removeprefix(old)] = weight
    return named


def test_published_names_and_the_adapter_beside_them_are_read(folder, tmp_path):
    plain = Granite.model_class.from_pretrained(folder)
    files = ("config.json", "preprocessor_config.json")
    for name in files:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    weights = published(plain.state_dict())
    assert {"encoder.out.weight", "language_model.model.norm.weight"} <= set(weights)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    family = GraniteSpeech(path=str(tmp_path))
    for name, weight in family.load(CPU).state_dict().items():
        assert torch.equal(weight, plain.state_dict()[name]), name

    adapted = get_peft_model(
        plain, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    prefix = "base_model.model."
    named = {name.removeprefix(prefix): weight for name, weight in saved.items()}
    save_file(published(named, prefix), tmp_path / "adapter_model.safetensors", {"format": "pt"})
    judge = family.load(CPU)
    features, count = Granite.features(noise(RATE))
    ids = torch.tensor([[5, *[plain.config.audio_token_index] * count, 6, 7]])
    mask = torch.ones(1, count, dtype=torch.bool)
    inputs = {"input_ids": ids, "input_features": features, "input_features_mask": mask}
    with torch.no_grad():
        expected = adapted.eval()(**inputs).logits
        with adapted.disable_adapter():
            assert not torch.allclose(adapted(**inputs).logits, expected, atol=1e-3)
        torch.testing.assert_close(judge(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    names = {name for name, _ in judge.named_parameters()}
    assert names == {name for name, _ in family.skeleton().named_parameters()}


def test_an_adapter_for_other_names_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    plain = Granite.model_class.from_pretrained(folder)
    get_peft_model(plain, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    other = {f"other.{name}": weight + 1 for name, weight in saved.items()}
    save_file(other, tmp_path / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="made for other names"):
        GraniteSpeech(path=str(tmp_path)).load(CPU)
