"""Damage that libsndfile reads over in silence: cut-off WAV and MP3, broken Ogg pages, and MP3
whose length it can only guess.

Nothing is decoded for it, so that a damaged clip is reported before any weights load.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from typing import BinaryIO

_UNKNOWN_SIZE = 0x7FFFF000
"""From here on a size in a header is a streaming writer's way of saying that it does not know."""

_SIZE_SLACK = 64
"""Bytes a data size may be off: some writers count the header in (2 ms of 16 kHz 16-bit sound)."""

_MP3_PADDING = 2 * 1152
"""Samples by which the length of an MP3 without an index may be wrong: two frames."""

_TAG_SLACK = 512
"""Bytes after the last frame of an MP3 that may be a tag."""

_INDEX = re.compile(b"Xing|Info|VBRI")

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_MP3_KBITS = {  # layer III, by "is MPEG-1"; index 0 is the "free format", not supported
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def find_damage(stream: BinaryIO, frames: int) -> str | None:
    """Say what is wrong with the container, or None; `frames` is what libsndfile says it holds.

    The stream is left where it was, since libsndfile reads from the same descriptor.
    """
    position = stream.tell()
    try:
        return _damage(stream, frames)
    finally:
        stream.seek(position)


def _damage(stream: BinaryIO, frames: int) -> str | None:
    stream.seek(0)
    magic = stream.read(12)
    if magic[:4] == b"RIFF" and magic[8:] == b"WAVE":
        return _cut_wav(stream)
    if magic[:4] == b"OggS":
        return _damaged_ogg(stream)
    if magic[:3] == b"ID3" or (magic[0] == 0xFF and magic[1] & 0xE0 == 0xE0):
        return _damaged_mp3(stream, frames)
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


def _damaged_ogg(stream: BinaryIO) -> str | None:
    """Walk over the pages: each must be there in full, with the right checksum.

    libsndfile drops damaged pages and reads on, which shortens or silences that stretch.
    """
    stream.seek(0)
    data = stream.read()
    position, number, ended = 0, 0, False
    while position < len(data):
        number += 1
        page = _ogg_page(data, position)
        if page is None:
            # After the mark of the end there may be a tag; before it, sound is missing.
            return None if ended else f"damaged or cut off: Ogg page {number} is incomplete"
        if _ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
            return f"damaged: Ogg page {number} does not have its checksum"
        position, ended = position + len(page), bool(page[5] & 4)
    return None


def _ogg_page(data: bytes, position: int) -> bytes | None:
    """The page that begins at `position`, or None where there is no whole page."""
    if data[position : position + 4] != b"OggS" or len(data) < position + 27:
        return None
    body = position + 27 + data[position + 26]
    end = body + sum(data[position + 27 : body])
    return data[position:end] if end <= len(data) and body <= len(data) else None


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 of the page with its checksum field zeroed, as RFC 3533 has it.

    That is zlib's polynomial with the bits the other way round, from 0 and without inversion.
    """
    content = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED_BITS)
    mirrored = zlib.crc32(content, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


def _damaged_mp3(stream: BinaryIO, frames: int) -> str | None:
    """Hold the file against its index; where it has none, count its frames.

    Without an index libsndfile guesses the length from the first frame's bit rate, and drops
    whatever lies beyond the guess.
    """
    stream.seek(0)
    data = stream.read()
    position, index = _mp3_start(data)
    if index is not None:
        declared = _indexed_bytes(data, index)
        there = len(data) - position
        if declared > there + _SIZE_SLACK:
            return f"cut off: its index says {declared} bytes of audio, {there} are there"
        return None
    held = 0
    while frame := _mp3_frame(data, position):
        position, held = position + frame[0], held + frame[1]
    all_counted = len(data) - position < _TAG_SLACK
    if held > frames or (all_counted and held < frames - _MP3_PADDING):
        return (
            f"an MP3 of variable bit rate without an index: {held} samples are there, but its "
            f"length is taken for {frames} (encoding it anew helps)"
        )
    return None


def missing_samples_allowed(stream: BinaryIO) -> int:
    """By how much fewer samples than libsndfile announces are no damage: 0 but for an MP3 without
    an index, whose length is a guess.
    """
    position = stream.tell()
    try:
        stream.seek(0)
        data = stream.read()
        start, index = _mp3_start(data)
        return _MP3_PADDING if index is None and _mp3_frame(data, start) else 0
    finally:
        stream.seek(position)


def _mp3_start(data: bytes) -> tuple[int, int | None]:
    """Where the first frame begins, behind any ID3v2 tags, and where its index, if it has one."""
    position = 0
    while data[position : position + 3] == b"ID3" and len(data) >= position + 10:
        sizes = data[position + 6 : position + 10]
        position += 10 + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])
    frame = _mp3_frame(data, position)
    index = frame and _INDEX.search(data, position, position + min(frame[0], 200))
    return position, index.start() if index else None


def _indexed_bytes(data: bytes, index: int) -> int:
    """The audio's size in bytes after a Xing/Info or VBRI index; 0 where it does not say."""
    if data[index : index + 4] == b"VBRI":
        return int.from_bytes(data[index + 10 : index + 14], "big")
    flags = int.from_bytes(data[index + 4 : index + 8], "big")
    size_at = index + 8 + (4 if flags & 1 else 0)
    return int.from_bytes(data[size_at : size_at + 4], "big") if flags & 2 else 0


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
