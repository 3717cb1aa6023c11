"""Arrays given to `Judge.score`: each type of array gives the same samples, and other values are refused."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soxr
import torch

from dramaeval.api.clip_input import rate_of, waveform_of

RATE = 16_000
WAVE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("clip", "error"),
    [
        (WAVE, 0),
        (WAVE.astype(np.float64), 0),
        (WAVE.astype(np.float16), 1e-3),
        (torch.from_numpy(WAVE), 0),
        (torch.from_numpy(WAVE).requires_grad_(), 0),
        (torch.from_numpy(WAVE).bfloat16(), 1e-2),
        ({"array": WAVE, "sampling_rate": RATE, "path": None}, 0),
        ({"array": WAVE.tolist(), "sampling_rate": RATE}, 0),
    ],
)
def test_each_type_of_array_gives_the_same_samples(clip: Any, error: float) -> None:
    samples = waveform_of(clip, 0, None, RATE)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, WAVE, atol=error, rtol=0)


def test_an_audio_column_is_resampled_from_its_own_rate() -> None:
    column = {"array": WAVE, "sampling_rate": 8_000}
    expected = soxr.resample(WAVE, 8_000, RATE, quality="HQ")
    np.testing.assert_array_equal(waveform_of(column, 0, None, RATE), expected)
    np.testing.assert_array_equal(waveform_of(column, 0, 8_000, RATE), expected)
    with pytest.raises(ValueError, match="has a rate of 8000 Hz, but sampling_rate=16000"):
        waveform_of(column, 0, 16_000, RATE)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (WAVE * 32_768, r"audio\[3\]: its samples reach 16,384.*divide 16-bit values by 32768"),
        (torch.from_numpy(WAVE * 32_768), "they were not scaled"),
        (torch.from_numpy(WAVE * 32_768).half(), "they were not scaled"),
        ({"array": WAVE * 32_768, "sampling_rate": RATE}, "they were not scaled"),
        ((WAVE * 32_767).astype(np.int16), r"int16.*\(here 32768\)"),
        (torch.from_numpy((WAVE * 32_767).astype(np.int16)), r"int16.*\(here 32768\)"),
        ((WAVE * 2**31 * 0.9).astype(np.int32), r"int32.*\(here 2147483648\)"),
        ((WAVE * 100 + 128).astype(np.uint8), "uint8"),
        ({"array": (WAVE * 32_767).astype(np.int16), "sampling_rate": RATE}, "int16"),
        (WAVE[None], r"\[1, 16000\]: average channels"),
        (WAVE > 0, "bool"),
        (WAVE.astype(complex), "complex"),
        ({"array": WAVE}, "not a dict: a mapping needs the keys array and sampling_rate"),
        ({"path": "a.wav", "bytes": None}, "not a dict: a mapping needs the keys array"),
        (None, "not a NoneType: give the samples of a clip as one array"),
        (0.5, "not a float: give the samples of a clip as one array"),
        (iter([WAVE]), "several clips as a list of arrays"),
        (b"RIFF", r"not a bytes: decode the bytes: array, rate = soundfile\.read"),
        (io.BytesIO(b"RIFF"), r"not a BytesIO: decode the file: array, rate = soundfile\.read"),
        (np.array(["a.wav", "b.wav"]), r"not <U5 \[2\]: give floats"),
        (np.array([0.5, None]), r"not object \[2\]: give floats"),
        (torch.zeros(9, device="meta"), "not a Tensor: give a dense tensor with values"),
        (torch.from_numpy(WAVE).to_sparse(), "not a Tensor: give a dense tensor with values"),
        (np.float64(1e300) * WAVE.astype(np.float64), "infinity"),
    ],
)
def test_other_values_are_refused(clip: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        waveform_of(clip, 3, None, RATE)


@pytest.mark.parametrize(
    "rate", [0, -1, 1, 16, 10**9, True, "16000", None, float("nan"), float("inf"), [16_000]]
)
def test_what_is_no_sampling_rate_is_refused(rate: Any) -> None:
    if rate is not None:  # None as an argument means the rate of the model
        for rates in ((rate, None), (None, rate)):
            with pytest.raises(
                ValueError, match="must be a number of samples per second from 1,000"
            ):
                rate_of(*rates)
    with pytest.raises(ValueError, match="must be a number of samples per second from 1,000"):
        waveform_of({"array": WAVE, "sampling_rate": rate}, 0, None, RATE)


@pytest.mark.parametrize("rate", [8_000, 8_000.0, np.int64(8_000), np.float32(8_000)])
def test_each_type_of_number_is_the_same_sampling_rate(rate: Any) -> None:
    expected = soxr.resample(WAVE, 8_000, RATE, quality="HQ")
    np.testing.assert_array_equal(waveform_of(WAVE, 0, rate_of(None, rate), RATE), expected)
    column = {"array": WAVE, "sampling_rate": rate}
    np.testing.assert_array_equal(waveform_of(column, 0, rate_of(rate, 8_000), RATE), expected)


def test_a_decoder_of_an_audio_column_is_mixed_and_resampled() -> None:
    stereo = torch.from_numpy(np.stack([WAVE, 0 * WAVE]))
    samples = SimpleNamespace(data=stereo, sample_rate=8_000)
    decoder = SimpleNamespace(get_all_samples=lambda: samples)
    expected = soxr.resample(WAVE / 2, 8_000, RATE, quality="HQ")
    np.testing.assert_array_equal(waveform_of(decoder, 0, None, RATE), expected)


def test_loud_samples_keep_their_level() -> None:
    np.testing.assert_array_equal(waveform_of(WAVE * 8, 0, RATE, RATE), WAVE * 8)
    np.testing.assert_array_equal(waveform_of(WAVE * 8, 0, None, RATE), WAVE * 8)


def test_a_silent_array_gives_a_warning_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    waveform_of(0 * WAVE, 7, None, RATE)
    assert "audio[7] is silent" in caplog.text
