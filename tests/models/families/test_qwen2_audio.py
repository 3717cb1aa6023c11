"""Log-mel and encoder at a clip's true length against transformers, which pads to 30 s."""

import numpy as np
import pytest
import torch
from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

from dramaeval.compat.transformers import encode_frames
from dramaeval.config.schema import PACKAGE
from dramaeval.data.logmel import LogMel, pad_features
from dramaeval.models.families.qwen2_audio import Qwen2Audio, audio_tokens

TINY = PACKAGE / "models" / "tiny"
RATE = 16_000


@pytest.fixture(scope="module")
def processor():
    return Qwen2AudioProcessor.from_pretrained(TINY)


@pytest.fixture(scope="module")
def plain():
    return Qwen2AudioForConditionalGeneration.from_pretrained(TINY).eval()


@pytest.fixture(scope="module")
def judge():
    return Qwen2Audio(path=str(TINY)).load(torch.device("cpu"))


def noise(seconds: float, seed: int = 0, loud_end: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wave = rng.standard_normal(round(seconds * RATE)) * 0.05
    wave *= 1 + np.sin(np.arange(wave.size) / 700)
    if loud_end:
        wave[-100:] *= 15  # the loudest frame is then one that straddles the clip's end
    return wave.astype(np.float32)


def reference(processor, wave):
    features = processor.feature_extractor(
        wave, sampling_rate=RATE, return_tensors="np", return_attention_mask=True
    )
    return features.input_features[0], int(features.attention_mask.sum())


@pytest.mark.parametrize("seconds", [0.1, 0.1001, 0.33, 1.0, 2.9999, 12.34, 29.99, 30.0])
@pytest.mark.parametrize("loud_end", [False, True])
def test_log_mel_equals_the_padded_transform(processor, seconds, loud_end):
    wave = noise(seconds, loud_end=loud_end)
    expected, frames = reference(processor, wave)
    clip = LogMel(processor.feature_extractor)(wave)
    assert clip.frames == frames
    width = clip.values.shape[1]
    np.testing.assert_allclose(clip.values, expected[:, :width], atol=1e-5)
    # The rest is silence, with the value that pads clips in a batch.
    np.testing.assert_allclose(
        expected[:, width:], np.full_like(expected[:, width:], clip.floor), atol=1e-5
    )


def test_log_mel_of_silence_and_of_a_click(processor):
    for wave in (np.zeros(8000, np.float32), np.eye(1, 8000, 4000, dtype=np.float32)[0]):
        expected, frames = reference(processor, wave)
        clip = LogMel(processor.feature_extractor)(wave)
        np.testing.assert_allclose(clip.values, expected[:, : clip.values.shape[1]], atol=1e-5)
        assert clip.frames == frames


@pytest.mark.parametrize("wave", [np.zeros(0, np.float32), np.zeros((2, 100), np.float32)])
def test_log_mel_refuses_empty_and_stereo_samples(processor, wave):
    with pytest.raises(ValueError, match="one row of samples"):
        LogMel(processor.feature_extractor)(wave)


def test_log_mel_refuses_more_than_30_seconds(processor):
    with pytest.raises(ValueError, match=r"30\.1 s; the model takes at most 30 s"):
        LogMel(processor.feature_extractor)(np.zeros(481_000, np.float32))


def test_log_mel_refuses_dither(processor):
    extractor = type(processor.feature_extractor)(feature_size=128, dither=0.1)
    with pytest.raises(ValueError, match="irreproducible"):
        LogMel(extractor)


@pytest.mark.parametrize(
    "durations",
    [[0.1], [3.3], [30.0], [0.1, 3.3, 7.77], [1.0, 1.0], [30.0, 0.5], [2.03, 2.04, 2.05]],
)
def test_encoder_equals_transformers_on_the_valid_part(processor, plain, durations):
    waves = [noise(seconds, seed) for seed, seconds in enumerate(durations)]
    padded = processor.feature_extractor(
        waves, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True
    )
    tower = plain.model.audio_tower
    valid, _ = tower._get_feat_extract_output_lengths(padded.attention_mask.sum(-1))
    mask = (torch.arange(1500)[None] < valid[:, None])[:, None, None]
    logmel = LogMel(processor.feature_extractor)
    features, frames = pad_features([logmel(wave) for wave in waves])
    with torch.no_grad():
        expected = tower(padded.input_features, attention_mask=mask).last_hidden_state
        encoded = encode_frames(tower, features, frames)
    assert features.shape[-1] <= max(frames) + 2  # no work on the 30 s
    for row, count in enumerate(frames):
        tokens = audio_tokens(int(count))
        assert tokens > 0
        torch.testing.assert_close(encoded[row, :tokens], expected[row, :tokens], atol=1e-4, rtol=0)


@pytest.mark.parametrize("frames", [3, 4, 10, 100, 101, 102, 103, 2999, 3000])
def test_audio_tokens_follow_the_processor(frames):
    # L1 = (L-1)//2 + 1, then (L1-2)//2 + 1: Qwen2AudioProcessor.replace_audio_token
    expected = (((frames - 1) // 2 + 1) - 2) // 2 + 1
    assert audio_tokens(frames) == expected


def test_encoding_does_not_depend_on_other_clips_of_the_batch(processor, judge):
    logmel = LogMel(processor.feature_extractor)
    clips = [logmel(noise(seconds, 7)) for seconds in (0.4, 5.0, 1.7)]
    tower = judge.model.audio_tower
    with torch.no_grad():
        together = encode_frames(tower, *pad_features(clips))
        for row, clip in enumerate(clips):
            alone = encode_frames(tower, *pad_features([clip]))
            tokens = audio_tokens(clip.frames)
            torch.testing.assert_close(together[row, :tokens], alone[0, :tokens], atol=1e-5, rtol=0)


def test_encoder_in_eager_attention_agrees(processor, judge):
    eager = Qwen2Audio(path=str(TINY), attention="eager").load(torch.device("cpu"))
    logmel = LogMel(processor.feature_extractor)
    features, frames = pad_features([logmel(noise(seconds)) for seconds in (0.4, 2.0)])
    with torch.no_grad():
        expected = judge.embed_audio(features, frames)
        embeddings = eager.embed_audio(features, frames)
    for embedding, reference in zip(embeddings, expected, strict=True):
        torch.testing.assert_close(embedding, reference, atol=1e-5, rtol=0)
