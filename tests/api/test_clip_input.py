"""Arrays given to `Judge.score`: each type of array gives the same samples, and other values are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import soxr
import torch

from dramaeval.api.clip_input import waveform_of

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
        ({"array": WAVE}, "must be a file path or a float array"),
        (np.float64(1e300) * WAVE.astype(np.float64), "infinity"),
    ],
)
def test_other_values_are_refused(clip: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        waveform_of(clip, 3, None, RATE)


def test_loud_samples_keep_their_level() -> None:
    np.testing.assert_array_equal(waveform_of(WAVE * 8, 0, RATE, RATE), WAVE * 8)
    np.testing.assert_array_equal(waveform_of(WAVE * 8, 0, None, RATE), WAVE * 8)


def test_a_silent_array_gives_a_warning_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    waveform_of(0 * WAVE, 7, None, RATE)
    assert "audio[7] is silent" in caplog.text
