"""What Gemma 3n and Gemma 4, with encoders and without, have and other families have not."""

import json
import logging

import numpy as np
import pytest
import torch
from gemma_kinds import Gemma3n, Gemma4, Gemma4Unified
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BitsAndBytesConfig, Gemma4UnifiedAudioFeatureExtractor

from dramaeval.data.augmentation import Augmentation
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.models.adapters import adapted_parts
from dramaeval.models.errors import ModelError
from dramaeval.models.inputs.audio_encodings import tower_name
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.planning.flops import Work, forward
from dramaeval.models.quantization import for_language_model, packed_bytes
from dramaeval.stages.builders import build_task
from dramaeval.tasks.rubric import changed_kinds
from dramaeval.training.question_sampler import QuestionSampler

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder with a small random model of each kind."""
    written = {}
    for kind in (Gemma3n, Gemma4, Gemma4Unified):
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


@pytest.mark.parametrize("kind", [Gemma3n, Gemma4, Gemma4Unified])
def test_virtual_tokens_have_embeddings_for_every_layer(folders, kind):
    """Those of a clip's positions, which are those of one id: as virtual tokens or as ids, it gives the same logits.

    Gemma 4 without encoders has none for layers.
    """
    judge = kind.family(path=str(folders[kind])).load(CPU)
    filling = 0 if kind is Gemma3n else judge.config.get_text_config().pad_token_id
    ids = torch.tensor([[5, 9, 11, 13]])
    positions = torch.arange(6)[None]
    padding = torch.full((1, 2), filling)
    with torch.no_grad():
        expected = judge(
            input_ids=torch.cat([padding, ids], dim=1),
            position_ids=positions,
            answer_index=torch.tensor([[0, 5]]),
        ).logits
        logits = judge(
            input_ids=ids,
            position_ids=positions[:, :4],
            answer_index=torch.tensor([[0, 3]]),
            virtual_embeddings=judge.embed_text(padding),
        ).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


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


# Gemma 4: heads of 8 values in layers with a window and of 16 in the others, of which each is half. The last two layers
# take the keys and values of the first two. Without encoders one matrix gives both in the second layer, with one head.
@pytest.mark.parametrize(
    ("kind", "queries", "keys", "audio"),
    [
        (Gemma3n, 4 * 8, 2 * 8, (32, 2, 128)),
        (Gemma4, 4 * 12, 2 * (8 + 16) // 4, (32, 2, 128)),
        (Gemma4Unified, 4 * 12, (2 * 8 + 16 // 2) // 4, (640, 0, 0)),
    ],
)
def test_sizes_for_the_plan(folders, kind, queries, keys, audio):
    family = kind.family(path=str(folders[kind]))
    shape = family.shape(family.read_configuration())
    assert (shape.queries, shape.keys, shape.inner, shape.layers) == (queries, keys, 48, 4)
    assert (shape.audio, shape.audio_layers, shape.mel_bins) == audio


def test_gemma_4_with_another_padding_token_than_its_tokenizer_is_refused(folders, tmp_path):
    """A trainer would set it to the tokenizer's, and with it the embeddings of clips for every layer."""
    for file in folders[Gemma4].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    values = json.loads((tmp_path / "config.json").read_text())
    values["text_config"]["pad_token_id"] = 7
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"pads with token 7 .* its tokenizer with \d+"):
        Gemma4.family(path=str(tmp_path)).processor()


def test_gemma_4_without_an_audio_encoder_is_refused(folders, tmp_path):
    values = json.loads((folders[Gemma4] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "audio_config": None}))
    with pytest.raises(ModelError, match=r"no audio encoder .*E2B or E4B"):
        Gemma4.family(path=str(tmp_path)).read_configuration()


@pytest.fixture(scope="module")
def unified(folders):
    """The family of the small Gemma 4 without encoders."""
    return Gemma4Unified.family(path=str(folders[Gemma4Unified]))


@pytest.mark.parametrize(
    ("samples", "frames", "positions"),
    [(1, 1, 1), (160, 1, 1), (161, 2, 1), (640, 4, 1), (641, 5, 2), (480_000, 3000, 750)],
)
def test_waveform_is_cut_as_by_the_feature_extractor(unified, samples, frames, positions):
    wave = np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)
    clip = unified.log_mel(unified.processor())(wave)
    assert (clip.values.shape, clip.frames, clip.floor) == ((160, frames), frames, 0.0)
    assert unified.audio_tokens(frames) == positions
    expected = Gemma4UnifiedAudioFeatureExtractor()([wave], return_tensors="pt").input_features[0]
    padded = torch.nn.functional.pad(torch.from_numpy(clip.values)[None], (0, 3), value=clip.floor)
    (encoded,) = unified.skeleton().encode_audio(padded, torch.tensor([frames]))
    assert torch.equal(encoded, expected)
    assert len(encoded) == positions


def test_strong_augmentation_masks_no_samples(unified, composed, make_clips):
    """A masked row would be every 160th sample of the waveform, which is loud distortion."""
    task = build_task(composed())
    records = task.read(make_clips("clip", 3)).records
    encoder = RecordEncoder(task, unified.processor(), unified, max_seconds=30, cache_clips=1)
    sampler = QuestionSampler(records, encoder, 5, augment="strong")
    extractor = Gemma4UnifiedAudioFeatureExtractor()
    for number, record in enumerate(records):
        sampled = sampler(number, 2)
        kinds = changed_kinds(task.dimensions)
        changed = Augmentation("strong", kinds, encoder.max_seconds).waveform(
            encoder.waveform(record), 16_000, np.random.default_rng([5, 2, number, 1])
        )
        (clip,) = sampled.encoded.clips
        samples = extractor([changed], return_tensors="np").input_features[0].reshape(-1)
        np.testing.assert_array_equal(
            clip.values.T.reshape(-1)[: len(changed)], samples[: len(changed)]
        )
        assert clip.key == ""


def test_waveforms_are_kept_on_disk(unified, composed, make_clips, tmp_path):
    task = build_task(composed())
    (record,) = task.read(make_clips("clip", 1)).records
    decoded, values = [], []
    for _ in range(2):
        cache = FeatureCache(tmp_path / "cache", 10**8)
        encoder = RecordEncoder(
            task, unified.processor(), unified, max_seconds=30, cache_clips=1, cache=cache
        )
        (clip,) = encoder.encode(record, task.dimensions[:1]).clips
        decoded.append(encoder.decoded)
        values.append(clip.values)
    assert decoded == [1, 0]
    np.testing.assert_array_equal(values[0], values[1])
    # There is no tower whose encodings could be kept.
    assert tower_name(unified.load(CPU), unified.parts.get("audio")) is None


def test_operations_equal_those_of_pytorch(unified, composed, make_clips):
    task = build_task(composed())
    (record,) = task.read(make_clips("clip", 1, seconds=(2.3,))).records
    encoder = RecordEncoder(task, unified.processor(), unified, max_seconds=30, cache_clips=1)
    batch = collate(
        [encoder.encode(record, task.dimensions[:1])], pad=encoder.pad, shared_prefix=False
    )
    judge, inputs = unified.load(CPU), batch.inputs
    work = Work(
        prefix=0,
        branches=1,
        width=inputs["input_ids"].shape[1],
        frames=int(inputs["feature_frames"][0]),
        answers=len(batch.labels),
    )
    expected = forward(unified.shape(judge.config), [work])
    # The counter does not count fused attention on the CPU.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        judge(**inputs)
        everything = counter.get_total_flops()
        judge.embed_audio(inputs["input_features"], inputs["feature_frames"])
    assert expected.audio == counter.get_total_flops() - everything == 2 * 58 * 640 * 32
    assert expected.total == pytest.approx(everything, rel=0.001)


def test_a_saved_gemma_4_without_encoders_is_read_by_transformers(unified, folders, tmp_path):
    judge = unified.load(CPU)
    with torch.no_grad():
        judge.model.embed_audio.embedding_projection.weight.add_(0.1)
    judge.save_pretrained(tmp_path)
    plain, report = Gemma4Unified.model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    weights = judge.state_dict()
    assert plain.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    written, saved = (
        load_file(folder / "model.safetensors") for folder in (folders[Gemma4Unified], tmp_path)
    )
    assert saved.keys() == written.keys()


@pytest.mark.parametrize(
    ("file", "keys", "value"),
    [
        ("config.json", ("audio_config", "audio_embed_dim"), 320),
        ("preprocessor_config.json", ("audio_samples_per_token",), 320),
        ("preprocessor_config.json", ("sampling_rate",), 8000),
    ],
)
def test_positions_of_another_length_than_40_ms_are_refused(folders, tmp_path, file, keys, value):
    for source in folders[Gemma4Unified].iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    values = json.loads((tmp_path / file).read_text())
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    (tmp_path / file).write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"takes \d+ samples .* gives \d+ .* positions of 40 ms"):
        Gemma4Unified.family(path=str(tmp_path)).processor()


def test_gemma_4_without_encoders_that_takes_no_audio_is_refused(folders, tmp_path):
    values = json.loads((folders[Gemma4Unified] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "audio_config": None}))
    with pytest.raises(ModelError, match="takes no audio"):
        Gemma4Unified.family(path=str(tmp_path)).read_configuration()


def test_the_missing_encoder_is_explained(unified, problems_of):
    ears = (
        "It has no audio encoder: the waveform goes into the projector, see model.train_projector"
    )
    with pytest.raises(ValueError, match=rf"Choose from llm, projector, all.* {ears}"):
        adapted_parts("audio", unified)
    problems = problems_of("model=gemma4_unified", "model.path=x", "model.freeze_audio=true")
    assert any("has no separate audio part" in each and ears in each for each in problems)


@pytest.mark.parametrize(
    ("written", "kind", "choice"),
    [
        (Gemma4Unified, Gemma4, "model=gemma4_unified"),
        (Gemma4, Gemma4Unified, "model=gemma4"),
        (Gemma4, Gemma3n, "model=gemma4"),
    ],
)
def test_a_checkpoint_of_another_gemma_names_its_family(folders, written, kind, choice):
    """transformers would read it, and draw the weights that are missing."""
    family = kind.family(path=str(folders[written]))
    with pytest.raises(ModelError, match=rf"is a {written.name}, and not a .*: choose {choice}\."):
        family.shared_prefix_problem()


def test_another_architecture_is_refused(folders, tmp_path):
    values = json.loads((folders[Gemma4] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "model_type": "gemma3"}))
    with pytest.raises(ModelError, match="is a gemma3, and not a gemma4: choose another model="):
        Gemma4.family(path=str(tmp_path)).read_configuration()
