"""Files with less or more audio than their header states are refused, unless the difference is harmless."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wav_by_hand import pcm16, riff, sine

from dramaeval.data.audio import UnreadableClipError, decode, read_header

RATE = 16_000
FORMATS = [
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"),
    ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16"), ("CAF", "PCM_16"), ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip
UNVERIFIABLE = ["VOC", "MAT4", "MAT5", "PVF", "PAF", "IRCAM", "AVR", "SVX", "MPC2K"]


def noise(seconds: float, kind: str, subtype: str) -> bytes:

    file = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * RATE))
    soundfile.write(file, samples, RATE, format=kind, subtype=subtype)
    return file.getvalue()


def written(folder: Path, content: bytes) -> Path:
    (folder / "a.audio").write_bytes(content)
    return folder / "a.audio"


def refused(file: Path, *reasons: str) -> None:
    for read in (read_header, lambda path: decode(path, RATE)):
        with pytest.raises(UnreadableClipError) as caught:
            read(file)
        assert any(reason in caught.value.reason for reason in reasons), caught.value.reason
        assert caught.value.fix


@pytest.mark.parametrize("kept", [0.6, 0.99])
@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_files_that_are_cut_off_are_refused(
    tmp_path: Path, kind: str, subtype: str, kept: float
) -> None:
    content = noise(3.0, kind, subtype)
    assert read_header(written(tmp_path, content)).seconds == pytest.approx(3.0, abs=0.06)
    refused(written(tmp_path, content[: int(len(content) * kept)]), "cut off")


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_files_that_are_joined_are_refused(tmp_path: Path, kind: str, subtype: str) -> None:
    content = b"".join(noise(seconds, kind, subtype) for seconds in (0.5, 1.0, 0.7))
    file = written(tmp_path, content)
    with pytest.raises(UnreadableClipError, match="joined end to end"):
        read_header(file)
    with pytest.raises(UnreadableClipError, match="joined end to end"):
        decode(file, RATE)


@pytest.mark.parametrize("kind", UNVERIFIABLE)
def test_formats_without_a_length_are_refused(tmp_path: Path, kind: str) -> None:
    refused(written(tmp_path, noise(0.5, kind, "PCM_16")), f"of the format {kind}")


def tag(name: bytes, size: int) -> bytes:
    return name + struct.pack("<I", size) + b"x" * size


@pytest.mark.parametrize(
    "tail",
    [b"", bytes(5_000), b"TAG" + b"x" * 125, tag(b"LIST", 2_000), tag(b"LIST", 2_001) + tag(b"id3 ", 900),
     tag(b"LIST", 2_001) + b"\0" + tag(b"id3 ", 900)],
)  # fmt: skip
def test_tags_and_padding_after_the_audio_of_a_wav_are_accepted(
    tmp_path: Path, tail: bytes
) -> None:
    content = riff(pcm16(sine(1.0)), tag=1, bits=16, rate=RATE)
    assert read_header(written(tmp_path, content + tail)).seconds == 1.0
    assert len(decode(tmp_path / "a.audio", RATE)) == RATE


def test_a_wav_with_more_or_less_audio_than_its_header_states_is_refused(tmp_path: Path) -> None:
    content = bytearray(riff(pcm16(sine(1.0)), tag=1, bits=16, rate=RATE))
    for stated in (2, 8_000, 8_001, 30_000):
        content[40:44] = struct.pack("<I", stated)
        refused(written(tmp_path, bytes(content)), f"says {stated} bytes of audio, but")
    content[40:44] = struct.pack("<I", 32_100)
    refused(written(tmp_path, bytes(content)), "cut off")


@pytest.mark.parametrize("size", [0, 36, 1_000, 0xFFFFFFFF])
def test_a_wrong_size_of_the_whole_wav_is_accepted(tmp_path: Path, size: int) -> None:
    content = bytearray(riff(pcm16(sine(1.0)), tag=1, bits=16, rate=RATE))
    content[4:8] = struct.pack("<I", size)
    assert len(decode(written(tmp_path, bytes(content)), RATE)) == RATE


def test_joined_streamed_wavs_are_refused(tmp_path: Path) -> None:
    content = bytearray(riff(pcm16(sine(1.0)), tag=1, bits=16, rate=RATE))
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert read_header(written(tmp_path, bytes(content))).seconds == 1.0
    refused(written(tmp_path, bytes(content) * 2), "joined")


def test_a_flac_with_more_or_less_audio_than_its_header_states_is_refused(tmp_path: Path) -> None:
    content = bytearray(noise(3.0, "FLAC", "PCM_16"))
    # Bytes 18 to 25 hold rate, channels and bits, then 36 bits with the number of samples.
    fields = int.from_bytes(content[18:26], "big")
    assert fields & (2**36 - 1) == 3 * RATE
    content[18:26] = (fields - 2 * RATE).to_bytes(8, "big")
    with pytest.raises(UnreadableClipError, match="says 16000 samples, but the file goes on"):
        read_header(written(tmp_path, bytes(content)))


ID3 = b"ID3\x04\0\0\0\0\x10\0" + bytes(2_048)


@pytest.mark.parametrize(
    "change",
    [lambda mp3: ID3 + mp3, lambda mp3: mp3 + b"TAG" + bytes(125), lambda mp3: ID3 + mp3 + ID3],
)
def test_an_mp3_with_tags_is_accepted_and_joined_ones_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    mp3 = noise(1.0, "MP3", "MPEG_LAYER_III")
    assert read_header(written(tmp_path, change(mp3))).frames == RATE
    refused(written(tmp_path, change(mp3) + change(mp3)), "joined")


def test_a_flac_after_a_tag_is_accepted_and_joined_ones_are_refused(tmp_path: Path) -> None:
    flac = noise(1.0, "FLAC", "PCM_16")
    assert read_header(written(tmp_path, ID3 + flac)).frames == RATE
    refused(written(tmp_path, (ID3 + flac) * 2), "joined")
