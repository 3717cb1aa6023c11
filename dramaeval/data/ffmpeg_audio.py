"""Decodes formats that libsndfile does not know (such as m4a and webm) with PyAV, which ships FFmpeg's libraries.

libsndfile decodes all formats that it knows: it is faster, and its MP3 samples differ from FFmpeg's in the last bits.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

#: Formats that FFmpeg may open; some others, such as playlists, would make it open further files.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,amr,asf"
#: Those of `_FORMATS` whose header gives the length; files of the others only contain frames.
_WITH_LENGTH = ("mov", "matroska", "asf")
#: Allowed difference in seconds between the length in the header and the audio, because of the encoder's padding.
_LENGTH_SLACK = 0.25


class UnsupportedAudioError(Exception):
    """FFmpeg does not know the format, or the file contains no audio."""


class DamagedAudioError(Exception):
    """The file is damaged, or contains less or more audio than its header says."""


def decode_with_ffmpeg(
    stream: io.FileIO,
) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.float32]], int]]:
    """Decode block by block: float32 samples ``[frames, channels]``, and the sampling rate in Hz.

    Raises:
        UnsupportedAudioError: FFmpeg does not know the format, or the file contains no audio.
        DamagedAudioError: the file is damaged; the samples before the damage are returned first.
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
        resampler = av.AudioResampler(format="fltp")  # converts only the sample format
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
    """Compare the decoded length with the length of the audio in the header, if the header gives one."""
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
