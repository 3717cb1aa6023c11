"""Clips that are silent or clipped are named in the log; samples that are not scaled are refused."""

from __future__ import annotations

import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from encoded_audio import encoded
from wav_by_hand import riff, sine

from dramaeval.data import levels
from dramaeval.data.audio import UnreadableClipError, decode

RATE = 16_000
TONE = np.array(sine(0.5, RATE, 440.0, 0.9))
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, TONE.size)


@pytest.fixture(autouse=True)
def nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_reported", defaultdict(set))


@pytest.mark.parametrize(
    ("frames", "remark"),
    [
        (TONE, ""),
        (TONE / 0.9, ""),  # normalised, so single samples reach full scale
        (1e-3 * NOISE, ""),
        (np.stack([TONE, 0 * TONE], 1), ""),
        (np.stack([TONE, 0.9 * -TONE], 1), ""),  # 26 dB below its channels is still audible
        (0 * TONE, "is silent."),
        (1e-5 * TONE, "is silent."),
        (np.stack([TONE, -TONE], 1), "is silent as mono, because its channels cancel"),
        (np.stack([NOISE, -0.999 * NOISE], 1), "is silent as mono, because its channels cancel"),
        (np.clip(2 * TONE, -1, 1), "is clipped: "),
        (np.stack([NOISE, np.clip(2 * TONE, -1, 1)], 1), "is clipped: "),
    ],
)
def test_silent_and_clipped_clips_are_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, frames: np.ndarray, remark: str
) -> None:
    soundfile.write(tmp_path / "a.wav", frames, RATE, subtype="PCM_24")
    samples = decode(tmp_path / "a.wav", RATE)
    expected = frames if frames.ndim == 1 else frames.mean(axis=1)
    np.testing.assert_allclose(samples, expected, atol=1e-6)
    assert (remark in caplog.text) if remark else not caplog.text


def test_the_share_of_clipped_samples(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wave = np.full(RATE, 0.1)
    wave[100:300] = (
        1.0  # 200 samples at full scale, 199 of which follow another one: 1.2 % of 16,000
    )
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    decode(tmp_path / "a.wav", RATE)
    assert "is clipped: 1.2 % of its samples" in caplog.text


def test_levels_of_formats_of_ffmpeg_are_checked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decode(encoded(tmp_path / "a.m4a", "ipod", "alac", np.stack([TONE, -TONE])), RATE)
    assert "channels cancel" in caplog.text


def test_only_the_first_clips_are_listed_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(8):
        soundfile.write(tmp_path / f"{number}.wav", 0 * TONE, RATE)
        for _ in range(2):
            decode(tmp_path / f"{number}.wav", RATE)
    assert len(caplog.records) == 5
    assert "further such clips are not listed" in caplog.records[-1].message


def test_float_samples_that_were_not_scaled_are_refused(tmp_path: Path) -> None:
    for scale, readable in ((1, True), (10, True), (32_768, False)):
        content = struct.pack(f"<{TONE.size}f", *(TONE * scale))
        (tmp_path / "a.wav").write_bytes(riff(content, tag=3, bits=32, rate=RATE))
        if readable:
            assert np.abs(decode(tmp_path / "a.wav", RATE)).max() == pytest.approx(
                0.9 * scale, 1e-2
            )
            continue
        with pytest.raises(
            UnreadableClipError, match=r"reach 29,4\d\d.*divide 16-bit values by 32768"
        ):
            decode(tmp_path / "a.wav", RATE)
