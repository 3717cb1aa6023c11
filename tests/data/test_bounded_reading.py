"""Only the needed part of a file is read; special files and files above the size limit are not read."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from encoded_audio import encoded
from wav_by_hand import pcm16, riff, sine

from dramaeval.data import audio, files, jsonl
from dramaeval.data.audio import UnreadableClipError, decode, read_header
from dramaeval.data.files import MAX_FILE_BYTES, content_key, read_regular
from dramaeval.data.jsonl import UnreadableFileError, read_lines

RATE = 16_000
GIB = 2**30
MIB = 2**20


def peak_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """The result of ``work`` and the peak memory of Python and numpy during the call, in bytes."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def sound(folder: Path, kind: str, subtype: str) -> Path:
    file = folder / "a.audio"
    soundfile.write(file, np.array(sine(2.0)), RATE, format=kind, subtype=subtype)
    return file


FORMATS = [
    ("WAV", "PCM_16"), ("RF64", "PCM_16"), ("AIFF", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_bytes_after_the_audio_are_not_read_into_memory(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    file = sound(tmp_path, kind, subtype)
    os.truncate(file, 60 * MIB)
    samples, peak = peak_of(lambda: (read_header(file), decode(file, RATE, max_seconds=30.0))[1])
    assert len(samples) == 2 * RATE
    assert peak < 20 * MIB


def test_a_large_mp3_without_an_index_is_not_read_into_memory(tmp_path: Path) -> None:
    file = sound(tmp_path, "MP3", "MPEG_LAYER_III")
    content = file.read_bytes()
    tag = b"ID3\x04\0\0" + bytes([0x0C, 0, 0, 0])  # 24 MiB of tag before the sound
    with file.open("wb") as stream:
        stream.write(tag)
        stream.seek(10 + (0x0C << 21))
        stream.write(content[content.find(content[:2], 4) :])
        stream.truncate(60 * MIB)
    error, peak = peak_of(lambda: _error_of(lambda: read_header(file)))
    assert error is None or isinstance(error, UnreadableClipError)
    assert peak < 20 * MIB


def _error_of(work: Callable[[], Any]) -> Exception | None:
    try:
        work()
    except (OSError, UnreadableClipError, UnreadableFileError) as error:
        return error
    return None


READERS: list[Callable[[Path], Any]] = [
    read_header,
    lambda path: decode(path, RATE, max_seconds=1.0),
    content_key,
    read_lines,
    read_regular,
]


@pytest.mark.parametrize("reader", READERS)
def test_a_file_above_the_size_limit_is_not_read(
    tmp_path: Path, reader: Callable[[Path], Any]
) -> None:
    file = sound(tmp_path, "MP3", "MPEG_LAYER_III")
    os.truncate(file, 30 * GIB)
    before = _bytes_read()
    error, peak = peak_of(lambda: _error_of(lambda: reader(file)))
    text = error.finding.problem if isinstance(error, UnreadableFileError) else str(error)
    assert f"holds {30 * GIB:,} bytes, more than the {MAX_FILE_BYTES:,}" in text
    assert peak < MIB
    assert _bytes_read() - before < MIB


def _bytes_read() -> int:
    """The number of bytes that this process has read so far, as counted by the kernel."""
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_not_regular_does_not_block(
    tmp_path: Path, reader: Callable[[Path], Any]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path, "is a folder"),
    ):
        error = _error_of(lambda path=path: reader(path))
        text = error.finding.problem if isinstance(error, UnreadableFileError) else str(error)
        assert reason in text


def test_a_file_that_grows_above_the_limit_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_bytes(b"x" * 101)
    monkeypatch.setattr(
        files, "_require_suitable", lambda status, most: None
    )  # as if the size was checked before the file grew
    with pytest.raises(files.UnsuitableFileError, match="holds 101 bytes, more than the 100"):
        read_regular(tmp_path / "log", max_bytes=100)


# Headers with extreme values


def test_a_thousand_channels_need_no_more_memory_than_one(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20_000, 1_000), dtype=np.uint8)
    file = tmp_path / "a.wav"
    file.write_bytes(riff(frames.tobytes(), tag=1, bits=8, rate=RATE, channels=1_000))
    samples, peak = peak_of(lambda: decode(file, RATE, max_seconds=30.0))
    np.testing.assert_allclose(samples, (frames.mean(axis=1) - 128) / 128, atol=1e-6)
    assert peak < 40 * MIB  # all samples at once would take 80 MiB


def test_a_sampling_rate_above_768_khz_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    for rate, readable in ((768_000, True), (768_001, False), (2**31 - 1, False)):
        file.write_bytes(riff(pcm16(sine(0.5)), tag=1, bits=16, rate=rate))
        for read in (read_header, lambda path: decode(path, RATE, max_seconds=30.0)):
            error = _error_of(lambda read=read: read(file))
            assert (error is None) == readable
            assert readable or f"{rate:,} samples a second" in str(error)


def test_a_wav_with_more_than_1000_chunks_before_the_audio_is_refused(tmp_path: Path) -> None:
    content = riff(pcm16(sine(0.1)), tag=1, bits=16, rate=RATE)
    head, rest = content[:36], content[36:]
    for count, readable in ((900, True), (2_000, False)):
        chunks = struct.pack("<4sI4s", b"LIST", 4, b"INFO") * count
        (tmp_path / "a.wav").write_bytes(head + chunks + rest)
        error = _error_of(lambda: read_header(tmp_path / "a.wav"))
        assert (error is None) == readable
        assert readable or "no audio in its first 1000 chunks" in str(error)


def test_audio_that_decodes_to_more_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FLAC file of silence is several hundred times smaller than its samples."""
    file = tmp_path / "a.flac"
    soundfile.write(file, np.zeros(RATE * 60), RATE)
    monkeypatch.setattr(audio, "MAX_FILE_BYTES", RATE * 60 * 4 - 1)
    assert "bytes of samples" in str(_error_of(lambda: decode(file, RATE)))
    assert len(decode(file, RATE, max_seconds=59.0)) == 59 * RATE


def test_ffmpeg_is_stopped_after_the_needed_samples_or_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = encoded(tmp_path / "a.m4a", "ipod", "aac", np.zeros(RATE * 5, np.float32))
    monkeypatch.setattr(audio, "MAX_FILE_BYTES", RATE * 4 * 4)  # four seconds
    assert len(decode(file, RATE, max_seconds=0.2)) == 3_200
    for read in (read_header, lambda path: decode(path, RATE)):
        assert "256,000 bytes of samples" in str(_error_of(lambda read=read: read(file)))


# JSON Lines


def test_bytes_after_the_records_are_an_error_and_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "_MAX_LINE_BYTES", 4 * MIB)
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "a"}\n{"id": "b"}\n')
    assert [line.fields for line in read_lines(file)] == [{"id": "a"}, {"id": "b"}]
    os.truncate(file, 3 * GIB)
    error, peak = peak_of(lambda: _error_of(lambda: read_lines(file)))
    assert isinstance(error, UnreadableFileError)
    assert error.finding.problem == f"line 3 is longer than {4 * MIB:,} bytes"
    assert peak < 20 * MIB


def test_a_line_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "_MAX_LINE_BYTES", 12)
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "a"}\n{"id":"ab"}')  # 12 bytes with the line feed, 11 without
    assert len(read_lines(file)) == 2
    file.write_text('{"id": "a"}\n{"id": "abc"}')
    assert isinstance(_error_of(lambda: read_lines(file)), UnreadableFileError)
