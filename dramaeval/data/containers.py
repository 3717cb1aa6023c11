"""Damage that libsndfile reads over in silence: cut-off WAV and Ogg files, MP3 without an index.

Each check reads headers alone, so that a damaged clip is reported before anything is decoded.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_UNKNOWN_SIZE = 0x7FFFF000
"""From here on a size in a header is a streaming writer's way of saying that it does not know."""

_SIZE_SLACK = 64
"""Bytes a data size may be off: some writers count the header in (2 ms of 16 kHz 16-bit sound)."""

_MAX_OGG_PAGE = 27 + 255 + 255 * 255

_MP3_KBITS = {  # layer III, by "is MPEG-1"; index 0 is the "free format", not supported
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def find_damage(stream: BinaryIO, frames: int) -> str | None:
    """Say what is wrong with the container, or None; `frames` is what libsndfile says it holds."""
    stream.seek(0)
    magic = stream.read(12)
    if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
        return _cut_wav(stream)
    if magic[:4] == b"OggS":
        return _cut_ogg(stream)
    if magic[:3] == b"ID3" or (magic[0] == 0xFF and magic[1] & 0xE0 == 0xE0):
        return _unindexed_mp3(stream, frames)
    return None


def _size(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _cut_wav(stream: BinaryIO) -> str | None:
    """Compare the size in the header of the `data` chunk with the bytes that are there."""
    total = _size(stream)
    position = 12
    while position + 8 <= total:
        stream.seek(position)
        name, declared = struct.unpack("<4sI", stream.read(8))
        there = total - position - 8
        if name == b"data":
            if declared == 0 and there > 1:
                return f"its header says 0 bytes of audio, {there} follow (it was never closed)"
            if declared < _UNKNOWN_SIZE and there + _SIZE_SLACK < declared:
                return f"cut off: its header says {declared} bytes of audio, {there} are there"
            return None
        position += 8 + declared + declared % 2
    return None


def _cut_ogg(stream: BinaryIO) -> str | None:
    """Check that the last page of the stream is there in full."""
    total = _size(stream)
    stream.seek(max(0, total - 2 * _MAX_OGG_PAGE))
    tail = stream.read()
    start = tail.rfind(b"OggS")
    while start >= 0:
        page = tail[start:]
        lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
        if len(page) < 27 or len(lacing) < page[26] or len(page) < 27 + len(lacing) + sum(lacing):
            return "cut off: its last Ogg page is incomplete"
        return None
    return None


def _unindexed_mp3(stream: BinaryIO, frames: int) -> str | None:
    """Without a Xing/Info/VBRI index libsndfile guesses the length from the first frame's bit rate
    and drops what lies beyond; count the frames where there is no index.
    """
    stream.seek(0)
    data = stream.read()
    position = 0
    while data[position : position + 3] == b"ID3" and len(data) >= position + 10:
        sizes = data[position + 6 : position + 10]
        position += 10 + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])
    counted = 0
    while frame := _mp3_frame(data, position):
        length, samples = frame
        first = data[position : position + min(length, 200)]
        if counted == 0 and any(index in first for index in (b"Xing", b"Info", b"VBRI")):
            return None
        counted += samples
        position += length
    if counted > 1.02 * frames + 5_000:
        return (
            f"an MP3 of variable bit rate without an index: {counted} samples are there, "
            f"but only {frames} can be read"
        )
    return None


def _mp3_frame(data: bytes, position: int) -> tuple[int, int] | None:
    """(bytes, samples) of the MPEG layer III frame that begins at `position`, or None."""
    header = data[position : position + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version = header[1] >> 3 & 3
    bit_rate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    first_version = version == 3
    kbits = _MP3_KBITS[first_version][bit_rate]
    samples = 1152 if first_version else 576
    length = samples // 8 * kbits * 1000 // _MP3_RATES[version][rate] + (header[2] >> 1 & 1)
    return length, samples
