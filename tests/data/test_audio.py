"""Decoding: every format gives the correct samples, and a damaged file is an error with its reason."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wav_by_hand import pcm16, riff, sine

from dramaeval.data.audio import UnreadableClipError, decode, read_header

RATE = 16_000
RAMP = [0.0, 0.25, -0.5, 0.75, -1.0]


def wav(path: Path, samples: bytes, **layout: int) -> Path:
    path.write_bytes(riff(samples, **{"tag": 1, "bits": 16, "rate": RATE, **layout}))
    return path


def packed(values: list[float], bits: int) -> bytes:
    """Samples as little-endian integers of this width; 8-bit samples are unsigned, with 128 as zero."""
    if bits == 8:
        return bytes(min(255, round(value * 128) + 128) for value in values)
    top = 2 ** (bits - 1)
    return b"".join(
        min(top - 1, round(v * top)).to_bytes(bits // 8, "little", signed=True) for v in values
    )


# Formats


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_wavs_with_integer_samples(tmp_path: Path, bits: int) -> None:
    samples = decode(wav(tmp_path / "a.wav", packed(RAMP, bits), bits=bits), RATE)
    assert samples.dtype == np.float32
    assert samples.shape == (5,)
    np.testing.assert_allclose(samples, RAMP, atol=1e-7)


@pytest.mark.parametrize(("bits", "code"), [(32, "f"), (64, "d")])
def test_float_wavs_keep_their_level(tmp_path: Path, bits: int, code: str) -> None:
    loud = [*RAMP, 3.5]
    file = wav(tmp_path / "a.wav", struct.pack(f"<6{code}", *loud), tag=3, bits=bits)
    np.testing.assert_array_equal(decode(file, RATE), np.float32(loud))


def test_channels_are_averaged(tmp_path: Path) -> None:
    frames = [0.5, 0.25, -0.75, 1 / 4, 1 / 4, 1 / 4]  # two frames of three channels
    file = wav(tmp_path / "a.wav", packed(frames, 24), bits=24, channels=3)
    np.testing.assert_allclose(decode(file, RATE), [0.0, 0.25], atol=1e-7)
    header = read_header(file)
    assert (header.channels, header.frames, header.sampling_rate) == (3, 2, RATE)
    assert header.seconds == 2 / RATE


@pytest.mark.parametrize(
    ("kind", "subtype", "error"),
    [("FLAC", "PCM_16", 1e-4), ("OGG", "VORBIS", 0.05), ("OGG", "OPUS", 0.05),
     ("MP3", "MPEG_LAYER_III", 0.05), ("AIFF", "PCM_24", 1e-6), ("WAV", "ULAW", 0.02)],
)  # fmt: skip
def test_other_formats_of_libsndfile_are_decoded(
    tmp_path: Path, kind: str, subtype: str, error: float
) -> None:
    tone = np.array(sine(1.0, RATE, hertz=300.0))
    file = tmp_path / "clip.audio"  # the format is recognised from the content, not from the name
    soundfile.write(file, tone, RATE, format=kind, subtype=subtype)
    header, samples = read_header(file), decode(file, RATE)
    assert header.frames == len(samples) == RATE
    assert header.seconds == 1.0
    inner = slice(1000, -1000)  # without the edges, where codecs are less accurate
    assert np.abs(samples - tone)[inner].max() < error


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)
def test_ordinary_files_have_the_samples_of_libsndfile(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(tmp_path / "a", noise, RATE, format=kind, subtype=subtype)
    with soundfile.SoundFile(tmp_path / "a") as sound:
        expected = sound.read(dtype="float32")
    np.testing.assert_array_equal(decode(tmp_path / "a", RATE), expected)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_gives_the_same_tone_at_the_new_rate(
    tmp_path: Path, make_wav: Callable[..., Path], rate: int
) -> None:
    samples = decode(make_wav(tmp_path / "a.wav", seconds=1.0, rate=rate, hertz=1_000.0), RATE)
    assert len(samples) == RATE
    inner = slice(400, -400)
    np.testing.assert_allclose(samples[inner], np.array(sine(1.0, RATE, 1_000.0))[inner], atol=1e-3)


def test_resampling_has_no_aliasing(tmp_path: Path, make_wav: Callable[..., Path]) -> None:
    file = make_wav(tmp_path / "a.wav", seconds=1.0, rate=48_000, hertz=11_000.0)  # above 8 kHz
    assert np.abs(decode(file, RATE)[400:-400]).max() < 1e-3


def test_max_seconds_keeps_the_beginning(tmp_path: Path, make_wav: Callable[..., Path]) -> None:
    file = make_wav(tmp_path / "a.wav", seconds=1.0, rate=44_100)
    whole, part = decode(file, RATE), decode(file, RATE, max_seconds=0.3)
    assert len(part) == 4_800
    np.testing.assert_allclose(part[:-200], whole[:4_600], atol=1e-5)
    assert len(decode(file, RATE, max_seconds=30.0)) == RATE


# Damage: the error must contain `reason` and give a fix


def refused(path: Path, reason: str, *, in_header: bool = True) -> None:
    for read in [lambda: decode(path, RATE)] + ([lambda: read_header(path)] if in_header else []):
        with pytest.raises(UnreadableClipError) as caught:
            read()
        assert reason in caught.value.reason
        assert caught.value.fix
        assert path.name.encode("unicode_escape").decode() in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("bits", "code"), [(32, "f"), (64, "d")])
def test_samples_that_are_not_finite_are_refused(
    tmp_path: Path, value: float, bits: int, code: str
) -> None:
    content = struct.pack(f"<4{code}", 0.5, value, value, 0.5)  # two stereo frames
    file = wav(tmp_path / "a.wav", content, tag=3, bits=bits, channels=2)
    refused(file, "holds NaN or infinity (first at sample 0)", in_header=False)


def test_a_wav_without_samples_is_refused(tmp_path: Path) -> None:
    refused(wav(tmp_path / "a.wav", b""), "holds no samples")


def test_a_wav_that_was_never_closed_is_refused(tmp_path: Path) -> None:
    content = bytearray(riff(pcm16(sine(0.5)), tag=1, bits=16, rate=RATE))
    content[40:44] = bytes(4)  # the size of the data, written when the recorder stops
    (tmp_path / "a.wav").write_bytes(content)
    refused(tmp_path / "a.wav", "never closed")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_streamed_wav_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    content = bytearray(riff(pcm16(sine(0.5)), tag=1, bits=16, rate=RATE))
    content[40:44] = struct.pack("<I", size)  # the size that ffmpeg and sox write into a pipe
    (tmp_path / "a.wav").write_bytes(content)
    assert read_header(tmp_path / "a.wav").seconds == 0.5
    assert len(decode(tmp_path / "a.wav", RATE)) == 8_000


@pytest.mark.parametrize("damaged_bytes", [1, 3_000])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_damaged_ogg_page_is_found_without_decoding(
    tmp_path: Path, subtype: str, damaged_bytes: int
) -> None:
    generator = np.random.default_rng(0)
    file = tmp_path / "a.ogg"
    soundfile.write(file, generator.uniform(-0.5, 0.5, 3 * RATE), RATE, subtype=subtype)
    content = bytearray(file.read_bytes())
    middle = len(content) * 3 // 4
    for place in range(middle, min(middle + damaged_bytes, len(content))):
        content[place] ^= 0x55
    file.write_bytes(content)
    refused(file, "damaged")


def test_a_tag_after_an_ogg_stream_is_not_damage(tmp_path: Path) -> None:
    file = tmp_path / "a.ogg"
    soundfile.write(file, np.array(sine(0.5)), RATE)
    file.write_bytes(file.read_bytes() + b"TAG" + bytes(125))
    assert read_header(file).frames == len(decode(file, RATE)) == 8_000


@pytest.mark.parametrize("length", [400, 3_000])
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize(("kind", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_files_damaged_in_the_middle_are_refused(
    tmp_path: Path, kind: str, subtype: str, zeros: bool, length: int
) -> None:
    generator = np.random.default_rng(0)
    file = tmp_path / "a.audio"
    noise = generator.uniform(-0.5, 0.5, 3 * RATE)
    soundfile.write(file, noise, RATE, format=kind, subtype=subtype)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + length] = bytes(length) if zeros else generator.bytes(length)
    file.write_bytes(content)
    refused(file, "damaged or cut off", in_header=False)


def without_index(tmp_path: Path, mode: str, levels: tuple[float, float] = (0.0, 0.5)) -> Path:
    """An MP3 without its first frame, which holds the Xing or Info index."""
    noise = np.random.default_rng(0).uniform(-1, 1, 2 * RATE)
    file = tmp_path / "a.mp3"
    sound = np.concatenate([level * noise for level in levels])
    soundfile.write(file, sound, RATE, format="MP3", bitrate_mode=mode, compression_level=0.5)
    content = file.read_bytes()
    file.write_bytes(content[content.find(content[:2], 4) :])
    return file


@pytest.mark.parametrize(
    "levels", [(0.0, 0.5), (0.5, 0.0)]
)  # the guessed length is too long, too short
def test_an_mp3_of_unknown_length_is_refused(tmp_path: Path, levels: tuple[float, float]) -> None:
    refused(without_index(tmp_path, "VARIABLE", levels), "variable bit rate without an index")


def test_an_mp3_of_constant_bit_rate_needs_no_index(tmp_path: Path) -> None:
    file = without_index(tmp_path, "CONSTANT")
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3 + 7])
    refused(cut, "cut off: its last MP3 frame is incomplete")
    assert read_header(file).seconds == pytest.approx(4.0, abs=0.15)  # with the encoder's padding
    assert len(decode(file, RATE)) == pytest.approx(4 * RATE, abs=0.15 * RATE)


def test_files_that_are_not_audio_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "gone.wav", "no such file")
    refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe.wav")
    refused(tmp_path / "pipe.wav", "not a regular file")  # reading it would wait for a writer
    (tmp_path / "empty.wav").touch()
    refused(tmp_path / "empty.wav", "empty (0 bytes)")
    (tmp_path / "head.wav").write_bytes(riff(b"", tag=1, bits=16, rate=RATE)[:20])
    refused(tmp_path / "head.wav", "unreadable audio")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    refused(tmp_path / "loop.wav", "cannot be opened")
    (tmp_path / "break\nin name.wav").touch()
    refused(tmp_path / "break\nin name.wav", "empty")


def test_the_error_can_be_pickled(tmp_path: Path) -> None:
    error = UnreadableClipError(tmp_path / "a.wav", "why", "what to do")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.path, copy.reason, copy.fix) == (tmp_path / "a.wav", "why", "what to do")
