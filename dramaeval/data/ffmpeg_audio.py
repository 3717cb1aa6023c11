"""Decoding of formats that libsndfile does not know (m4a, webm and others) by PyAV, which ships FFmpeg's libraries.

Formats of libsndfile stay with libsndfile: it is faster, and its MP3 samples differ from FFmpeg's in the last bits.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Formats that FFmpeg may open; others, such as playlists, name further files.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,amr,asf"
#: The formats of these whose header gives the length; the others are a sequence of frames.
_WITH_LENGTH = ("mov", "matroska", "asf")
#: Seconds by which that length may differ from the audio, because of the encoder's padding.
_LENGTH_SLACK = 0.25


class UnsupportedAudioError(Exception):
    """FFmpeg does not know the format, or the file holds no audio."""


class DamagedAudioError(Exception):
    """The file is damaged, or holds less or more audio than its header says."""


def decode_with_ffmpeg(
    stream: io.FileIO,
) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.float32]], int]]:
    """Decode block by block: float32 samples ``[frames, channels]``, and the sampling rate in Hz.

    Raises:
        UnsupportedAudioError: FFmpeg does not know the format, or the file holds no audio.
        DamagedAudioError: raised after the samples before the damage.
    """
    import av

    try:
        container = av.open(stream, mode="r", options={"format_whitelist": _FORMATS})
    except (av.FFmpegError, ValueError):
        raise UnsupportedAudioError(
            "not an audio format that libsndfile or FFmpeg reads, or cut off before its index"
        ) from None
    with container:
        if not container.streams.audio:
            raise UnsupportedAudioError("holds no audio")
        seconds = 0.0
        resampler = av.AudioResampler(format="fltp")  # converts samples; rate and channels stay
        try:
            for decoded in container.decode(container.streams.audio[0]):
                for frame in resampler.resample(decoded):
                    seconds += frame.samples / frame.sample_rate
                    yield np.asarray(frame.to_ndarray(), np.float32).T, frame.sample_rate
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DamagedAudioError(f"damaged or cut off ({reason})") from None
        _check_length(container, seconds)


def _check_length(container: Any, seconds: float) -> None:
    """Compare the decoded length with the header's, where it gives the length of the audio."""
    stream = container.streams.audio[0]
    if not container.format.name.startswith(_WITH_LENGTH):
        return
    if stream.duration is not None:
        declared = float(stream.duration * stream.time_base)
    elif container.duration and not container.streams.video:
        declared = container.duration / 1e6  # microseconds
    else:
        return
    if seconds < declared - _LENGTH_SLACK:
        reason = f"damaged or cut off: {seconds:.2f} of {declared:.2f} s could be read"
        raise DamagedAudioError(reason)
    if seconds > declared + _LENGTH_SLACK:
        reason = f"its header says {declared:.2f} s, but it holds {seconds:.2f} s (a wrong header, or joined files)"
        raise DamagedAudioError(reason)
