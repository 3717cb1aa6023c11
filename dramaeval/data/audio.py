"""Audio files: reads headers and decodes to mono samples at the model's sampling rate."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dramaeval.data.container_sizes import TAIL_SLACK
from dramaeval.data.ffmpeg_audio import (
    DamagedAudioError,
    UnsupportedAudioError,
    decode_with_ffmpeg,
)
from dramaeval.data.file_damage import find_damage, missing_samples_allowed
from dramaeval.data.file_window import FileWindow
from dramaeval.data.files import MAX_FILE_BYTES, UnsuitableFileError, open_regular
from dramaeval.data.levels import SCALE_FIX, Levels, report
from dramaeval.data.problems import shown_path

_CONVERT_FIX = "convert the clip to WAV or FLAC (ffmpeg -i in out.wav), or leave the record out"
_RESTORE_FIX = "restore the clip from its source, or leave the record out"
MAX_RATE = 768_000  # Hz; the highest rate of any recording format
_BLOCK_VALUES = 2**22  # number of values decoded at a time, in all channels together
_UNRECOGNISED = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
_FORMATS = ("WAV", "WAVEX", "RF64", "AIFF", "AU", "CAF", "W64", "NIST", "FLAC", "OGG", "MP3")
"""Formats of libsndfile in which truncated and concatenated files are recognised."""


class UnreadableClipError(Exception):
    """A clip cannot be used, with its `path`, the `reason` and a `fix` for the user."""

    def __init__(self, path: Path, reason: str, fix: str = _RESTORE_FIX) -> None:
        self.path, self.reason, self.fix = path, reason, fix
        super().__init__(path, reason, fix)

    def __str__(self) -> str:
        return f"{shown_path(self.path)}: {self.reason}; {self.fix}"


@dataclass(frozen=True, kw_only=True)
class ClipHeader:
    """A clip's length in seconds and in frames, sampling rate in Hz and number of channels."""

    seconds: float
    sampling_rate: int
    channels: int
    frames: int


def read_header(path: str | Path) -> ClipHeader:
    """Read a clip's header without decoding the clip.

    Raises:
        UnreadableClipError: the file is missing, empty, not audio, or visibly truncated.
    """
    path = Path(path)
    with _opened(path) as stream:
        sound = _sound(path, stream)
        if sound is None:
            return _ffmpeg_samples(path, stream, None, Levels())[1]
        with sound:
            header = _checked_header(path, sound, stream)
            _check_last_frame(path, sound, stream, header)
        return header


def decode(
    path: str | Path, sampling_rate: int, *, max_seconds: float | None = None
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Decode a clip to float32 mono samples [samples] at `sampling_rate` (Hz).

    Channels are averaged; soxr resamples at high quality; only the first `max_seconds` are returned.
    Levels are unchanged, also beyond ±1. Damaged audio is never replaced by silence. The log names silent
    and clipped clips.

    Raises:
        UnreadableClipError: the file is missing, not audio, truncated, damaged or empty, or contains NaN,
            infinity, or unscaled samples.
    """
    path, levels = Path(path), Levels()
    with _opened(path) as stream:
        sound = _sound(path, stream)
        if sound is None:
            samples, header = _ffmpeg_samples(path, stream, max_seconds, levels)
        else:
            with sound:
                header = _checked_header(path, sound, stream)
                samples = _read_samples(path, sound, stream, header, max_seconds, levels)
    if not len(samples):
        raise UnreadableClipError(path, "holds no samples")
    if not np.isfinite(samples).all():
        first = int(np.argmin(np.isfinite(samples)))
        raise UnreadableClipError(path, f"holds NaN or infinity (first at sample {first})")
    if problem := levels.problem():
        raise UnreadableClipError(path, problem, SCALE_FIX)
    report(shown_path(path), levels.remark(samples))
    if header.sampling_rate != sampling_rate:
        import soxr

        samples = soxr.resample(samples, header.sampling_rate, sampling_rate, quality="HQ")
    if max_seconds is not None:
        samples = samples[: int(max_seconds * sampling_rate + 1e-6)]
    if not len(samples):
        reason = f"too short: not one sample is left at {sampling_rate} Hz"
        raise UnreadableClipError(path, reason)
    return np.ascontiguousarray(samples, dtype=np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[io.FileIO]:
    """Open the clip as a binary file; only regular files up to `MAX_FILE_BYTES` are accepted."""
    try:
        stream = open_regular(path)
        if os.fstat(stream.fileno()).st_size == 0:
            stream.close()
            raise UnreadableClipError(path, "the file is empty (0 bytes)")
    except UnsuitableFileError as error:
        raise UnreadableClipError(path, error.reason, error.fix) from None
    except FileNotFoundError:
        raise UnreadableClipError(path, "no such file", "check the path") from None
    except (OSError, ValueError) as error:
        reason = f"cannot be opened ({getattr(error, 'strerror', None) or error})"
        raise UnreadableClipError(path, reason, "check the path and its permissions") from None
    with stream:
        yield stream


def _sound(path: Path, stream: io.FileIO) -> soundfile.SoundFile | None:
    """Open with libsndfile; None if it does not know the format.

    libsndfile gets the file descriptor, not the name, so that it detects the format from the content.
    """
    try:
        sound = soundfile.SoundFile(stream.fileno(), closefd=False)
    except soundfile.LibsndfileError as error:
        if error.code == _UNRECOGNISED:
            return None
        reason = find_damage(stream, 0) or f"unreadable audio ({error.error_string.strip()})"
        raise UnreadableClipError(path, reason) from None
    if sound.format in _FORMATS:
        return sound
    reason = f"of the format {sound.format}, which is not read, because a cut-off one cannot be recognised"
    sound.close()
    raise UnreadableClipError(path, reason, _CONVERT_FIX)


def _checked_header(path: Path, sound: soundfile.SoundFile, stream: io.FileIO) -> ClipHeader:
    """The header, after checking that the container is complete."""
    frames, rate = int(sound.frames), int(sound.samplerate)
    if damage := find_damage(stream, frames):
        raise UnreadableClipError(path, damage)
    if frames == 0:
        raise UnreadableClipError(path, "holds no samples")
    if frames < 0 or frames >= 2**48:  # libsndfile's values for an unknown length
        raise UnreadableClipError(path, "its length is unknown", _CONVERT_FIX)
    _check_rate(path, rate)
    return ClipHeader(
        seconds=frames / rate, sampling_rate=rate, channels=int(sound.channels), frames=frames
    )


def _check_rate(path: Path, rate: int) -> None:
    """Reject the huge rates of damaged headers, at which one second of audio would take gigabytes."""
    if rate > MAX_RATE:
        reason = f"its header says {rate:,} samples a second, more than the {MAX_RATE:,} of any recording"
        raise UnreadableClipError(path, reason)


def _check_last_frame(
    path: Path, sound: soundfile.SoundFile, stream: io.FileIO, header: ClipHeader
) -> None:
    """Compare the length in a FLAC header with the last frame; takes 0.2 ms.

    A truncated FLAC opens, but its last sample cannot be read. If the header counts too few samples, the file
    continues after the last counted one; up to 8 kB of the rest are in the decoder's buffer and are not noticed.
    """
    content = FileWindow(stream)
    if sound.format != "FLAC" or content.at(0, 3) == b"ID3":  # libsndfile cannot seek behind a tag
        return
    try:
        sound.seek(header.frames - 1)
        reached = len(sound.read(1, dtype="float32")) == 1
    except soundfile.LibsndfileError:
        reached = False
    if not reached:
        raise UnreadableClipError(path, "damaged or cut off: its last sample cannot be reached")
    position = stream.tell()
    if content.size - position > TAIL_SLACK and not content.is_padding(position):
        reason = f"its header says {header.frames} samples, but the file goes on after them"
        raise UnreadableClipError(path, reason)


def _read_samples(
    path: Path,
    sound: soundfile.SoundFile,
    stream: io.FileIO,
    header: ClipHeader,
    max_seconds: float | None,
    levels: Levels,
) -> np.ndarray:
    """Samples [samples] as float32, channels averaged: as many as the header says, up to `max_seconds`."""
    wanted = header.frames
    if max_seconds is not None:
        wanted = min(wanted, math.ceil(max_seconds * header.sampling_rate))
    _require_bounded(path, wanted)
    try:
        samples = _read_averaged(sound, wanted, levels)
    except soundfile.LibsndfileError as error:
        reason = f"damaged or cut off ({error.error_string.strip()})"
        raise UnreadableClipError(path, reason) from None
    if len(samples) < wanted and len(samples) < wanted - missing_samples_allowed(stream):
        reason = f"damaged or cut off: {len(samples)} of {wanted} samples could be read"
        raise UnreadableClipError(path, reason)
    return samples


def _read_averaged(sound: soundfile.SoundFile, wanted: int, levels: Levels) -> np.ndarray:
    """Read block by block, so that memory does not grow with the number of channels."""
    blocks, remaining = [], wanted
    block_frames = max(1, _BLOCK_VALUES // sound.channels)
    while remaining > 0:
        block = sound.read(min(remaining, block_frames), dtype="float32", always_2d=True)
        if not len(block):
            break
        levels.add(block)
        blocks.append(_averaged(block))
        remaining -= len(block)
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def _averaged(frames: np.ndarray) -> np.ndarray:
    """Mean over the channels: [frames, channels] to [frames]."""
    return frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)


def _ffmpeg_samples(
    path: Path, stream: io.FileIO, max_seconds: float | None, levels: Levels
) -> tuple[np.ndarray, ClipHeader]:
    """Decode a format that only FFmpeg reads, to float32 [samples] with averaged channels.

    The header describes the decoded samples, because containers round the length.
    """
    blocks, count, channels, rate = [], 0, 0, 0
    wanted = math.inf
    if reason := find_damage(stream, 0):
        raise UnreadableClipError(path, reason)
    stream.seek(0)
    try:
        for frames, rate in decode_with_ffmpeg(stream):
            _check_rate(path, rate)
            levels.add(frames)
            blocks.append(_averaged(frames))
            count, channels = count + len(frames), frames.shape[1]
            wanted = math.inf if max_seconds is None else math.ceil(max_seconds * rate)
            if count >= wanted:
                break
            _require_bounded(path, count)
    except UnsupportedAudioError as error:
        raise UnreadableClipError(path, str(error), _CONVERT_FIX) from None
    except DamagedAudioError as error:
        raise UnreadableClipError(path, str(error)) from None
    if not count:
        raise UnreadableClipError(path, "holds no samples")
    samples = np.concatenate(blocks)[: int(min(count, wanted))]
    return samples, ClipHeader(
        seconds=count / rate, sampling_rate=rate, channels=channels, frames=count
    )


def _require_bounded(path: Path, samples: int) -> None:
    if samples * np.dtype(np.float32).itemsize > MAX_FILE_BYTES:
        reason = f"holds more than {MAX_FILE_BYTES:,} bytes of samples"
        raise UnreadableClipError(path, reason, "cut it to the part to be judged")
