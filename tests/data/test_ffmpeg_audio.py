"""Formats that libsndfile does not support are decoded by FFmpeg or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from encoded_audio import encoded
from wav_by_hand import sine

from dramaeval.data.audio import UnreadableClipError, decode, read_header

RATE = 16_000
TONE = np.array(sine(1.0, RATE, 440.0), np.float32)


def reason_of(file: Path) -> str:
    reasons = set()
    for read in (read_header, lambda path: decode(path, RATE)):
        with pytest.raises(UnreadableClipError) as caught:
            read(file)
        assert caught.value.fix
        reasons.add(caught.value.reason)
    (reason,) = reasons
    return reason


@pytest.mark.parametrize(
    ("kind", "codec", "error", "delay"),  # raw AAC has no edit list that removes the first frame
    [("ipod", "aac", 0.02, 0), ("ipod", "alac", 1e-4, 0), ("webm", "libopus", 0.05, 0), ("adts", "aac", 0.02, 1024)],
)  # fmt: skip
def test_a_tone_in_other_formats_is_decoded(
    tmp_path: Path, kind: str, codec: str, error: float, delay: int
) -> None:
    file = encoded(tmp_path / "a.audio", kind, codec, np.stack([TONE, 0 * TONE]))
    header, samples = read_header(file), decode(file, RATE)
    assert header.channels == 2
    assert header.frames == len(samples) * header.sampling_rate / RATE
    assert header.seconds == pytest.approx(1.0, abs=0.15)  # with the encoder's padding
    inner = slice(delay + 2_000, delay + 8_000)
    assert np.abs(samples[inner] - TONE[2_000:8_000] / 2).max() < error
    assert len(decode(file, RATE, max_seconds=0.2)) == 3_200


def test_another_sampling_rate_is_resampled(tmp_path: Path) -> None:
    tone = np.array(sine(1.0, 48_000, 440.0), np.float32)
    file = encoded(tmp_path / "a.m4a", "ipod", "alac", tone, rate=48_000)
    assert read_header(file).sampling_rate == 48_000
    np.testing.assert_allclose(decode(file, RATE)[400:-400], TONE[400:-400], atol=1e-3)


@pytest.mark.parametrize("kept", [0.66, 0.95])
@pytest.mark.parametrize(
    ("kind", "codec", "options"),
    [
        ("ipod", "aac", {}),
        ("ipod", "aac", {"movflags": "faststart"}),
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
        ("webm", "libopus", {}),
    ],
)
def test_files_that_are_cut_off_are_refused(
    tmp_path: Path, kind: str, codec: str, options: dict[str, str], kept: float
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 6 * RATE)
    content = encoded(tmp_path / "a", kind, codec, noise, **options).read_bytes()
    (tmp_path / "cut").write_bytes(content[: int(len(content) * kept)])
    assert "cut off" in reason_of(tmp_path / "cut")


@pytest.mark.parametrize(("kind", "codec"), [("ipod", "aac"), ("webm", "libopus")])
def test_files_that_are_joined_are_refused(tmp_path: Path, kind: str, codec: str) -> None:
    content = encoded(tmp_path / "a", kind, codec, TONE).read_bytes()
    (tmp_path / "joined").write_bytes(content + content)
    assert "joined" in reason_of(tmp_path / "joined")


def test_joined_raw_aac_is_accepted(tmp_path: Path) -> None:
    content = encoded(tmp_path / "a.aac", "adts", "aac", TONE).read_bytes()
    (tmp_path / "joined.aac").write_bytes(content + content)
    single, joined = (read_header(tmp_path / name).frames for name in ("a.aac", "joined.aac"))
    assert joined == 2 * single


def test_files_that_are_not_audio_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.m4a"
    file.write_bytes(b"not audio" * 100)
    assert "not an audio format" in reason_of(file)
    clip = encoded(tmp_path / "b.m4a", "ipod", "aac", TONE)
    file.write_text(f"#EXTM3U\n#EXTINF:10,\n{clip}\n")  # a playlist, which names another file
    assert "not an audio format" in reason_of(file)
