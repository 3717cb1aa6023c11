"""Detects files that contain less or more audio than libsndfile reads: truncated or concatenated files, wrong
sizes in headers, broken Ogg pages, and MP3 files whose length libsndfile can only guess.

Nothing is decoded, so that damaged clips are reported before any weights load.
"""

from __future__ import annotations

import io
import re
import zlib

from dramaeval.data.container_sizes import JOINED, find_size_mismatch
from dramaeval.data.file_window import FileWindow

_SIZE_SLACK = 64
"""Tolerance of the size in an index, in bytes."""

_MP3_PADDING = 2 * 1152
"""Tolerance of the length of an MP3 without an index, in samples (two frames)."""

_TAG_SLACK = 512
"""Largest number of bytes after the last frame of an MP3 that may be a tag."""

_INDEX = re.compile(b"Xing|Info|VBRI")

_INDEX_BYTES = 16
"""Number of bytes of an index that are needed to read the size of the audio."""

_MAX_TAGS = 1000
"""Largest number of tags that are skipped; real files have a few."""

_JOINED_SAMPLES = 4 * 1152
"""More samples than this after the indexed part of an MP3 are another file; some indexes do not count their own frame."""

_FLAC_BLOCK = (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22")
"""Header of the first metadata block of a FLAC, after ``fLaC``; the second form means that no other block follows."""

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

_MP3_KBITS = {  # of layer III; the keys mean "is MPEG-1"; index 0 is the "free format", which is not supported
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def find_damage(stream: io.FileIO, frames: int) -> str | None:
    """Describe the damage to the container, or None; `frames` is the length that libsndfile reports."""
    content = FileWindow(stream)
    start = _after_tags(content, 0)
    magic = content.at(start, 4)
    if magic == b"OggS":
        return _damaged_ogg(content)
    if magic == b"fLaC":
        return JOINED if _has_another_flac(content, start + len(magic)) else None
    if _mp3_frame(magic):
        return _damaged_mp3(content, frames)
    return find_size_mismatch(content)


def _has_another_flac(content: FileWindow, start: int) -> bool:
    """Whether another FLAC begins after a position."""
    position = content.find(b"fLaC", start)
    while position >= 0:
        if content.at(position + 4, 4) in _FLAC_BLOCK:
            return True
        position = content.find(b"fLaC", position + 4)
    return False


def _damaged_ogg(content: FileWindow) -> str | None:
    """Check that every page is complete and has the right checksum.

    libsndfile leaves out damaged pages and continues, so that this part is missing or silent.
    """
    position, number, ended, has_audio = 0, 0, False, False
    while position < content.size:
        number += 1
        page = _ogg_page(content, position)
        if page is None:
            # After the page that marks the end, these bytes may be a tag; before it, audio is missing.
            return None if ended else f"damaged or cut off: Ogg page {number} is incomplete"
        if _ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
            return f"damaged: Ogg page {number} does not have its checksum"
        begins = bool(page[5] & 2)
        if begins and has_audio:
            return JOINED
        position, ended, has_audio = position + len(page), bool(page[5] & 4), not begins
    return None


def _ogg_page(content: FileWindow, position: int) -> bytes | None:
    """The page that begins at `position` (at most 65,307 bytes); None if it is incomplete."""
    header = content.at(position, 27)
    if len(header) < 27 or header[:4] != b"OggS":
        return None
    sizes = content.at(position + 27, header[26])
    length = 27 + len(sizes) + sum(sizes)
    page = content.at(position, length)
    return page if len(sizes) == header[26] and len(page) == length else None


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 of the page with its checksum field zeroed (RFC 3533).

    It uses zlib's polynomial with reversed bits, initial value 0 and no inversion.
    """
    content = (page[:22] + bytes(4) + page[26:]).translate(_REVERSED_BITS)
    mirrored = zlib.crc32(content, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED_BITS), "big")


def _damaged_mp3(content: FileWindow, frames: int) -> str | None:
    """Compare the file with its index; without an index, count its frames.

    Without an index, libsndfile guesses the length from the first frame's bit rate, and does not read audio after
    the guessed end.
    """
    position, index = _mp3_start(content)
    if index is not None:
        declared = _indexed_bytes(index)
        available = content.size - position
        if declared > available + _SIZE_SLACK:
            return f"cut off: its index says {declared} bytes of audio, {available} are there"
        rest = _after_tags(content, position + declared) if declared else content.size
        return JOINED if _mp3_samples(content, rest)[0] > _JOINED_SAMPLES else None
    count, position = _mp3_samples(content, position)
    if position > content.size:
        return "cut off: its last MP3 frame is incomplete"
    all_counted = content.size - position < _TAG_SLACK
    if count > frames or (all_counted and count < frames - _MP3_PADDING):
        return (
            f"an MP3 of variable bit rate without an index: {count} samples are there, but its "
            f"length is taken for {frames} (encoding it anew helps)"
        )
    return None


def _mp3_samples(content: FileWindow, position: int) -> tuple[int, int]:
    """Number of samples in the consecutive frames from a position on, and the position after the last frame."""
    count = 0
    while frame := _mp3_frame(content.at(position, 4)):
        position, count = position + frame[0], count + frame[1]
    return count, position


def _after_tags(content: FileWindow, position: int) -> int:
    """The position after the ID3v1, APEv2 and ID3v2 tags at a position."""
    for _ in range(_MAX_TAGS):
        head = content.at(position, 32)
        if head[:3] == b"TAG":
            position += 128
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            position += 32 + int.from_bytes(head[12:16], "little")
        elif head[:3] == b"ID3" and len(head) >= 10:
            position += 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
        else:
            break
    return position


def missing_samples_allowed(stream: io.FileIO) -> int:
    """Number of samples by which a clip may be shorter than libsndfile says: 0, except for MP3 without an index."""
    content = FileWindow(stream)
    start, index = _mp3_start(content)
    return _MP3_PADDING if index is None and _mp3_frame(content.at(start, 4)) else 0


def _mp3_start(content: FileWindow) -> tuple[int, bytes | None]:
    """Position of the first frame after the tags, and its index, if it has one."""
    position = _after_tags(content, 0)
    frame = _mp3_frame(content.at(position, 4))
    if frame is None:
        return position, None
    beginning = content.at(position, min(frame[0], 200) + _INDEX_BYTES)
    index = _INDEX.search(beginning, 0, min(frame[0], 200))
    return position, beginning[index.start() :] if index else None


def _indexed_bytes(index: bytes) -> int:
    """Size of the audio in bytes from a Xing/Info or VBRI index; 0 if the index has no size."""
    if index[:4] == b"VBRI":
        return int.from_bytes(index[10:14], "big")
    flags = int.from_bytes(index[4:8], "big")
    size_at = 8 + (4 if flags & 1 else 0)
    return int.from_bytes(index[size_at : size_at + 4], "big") if flags & 2 else 0


def _mp3_frame(header: bytes) -> tuple[int, int] | None:
    """(bytes, samples) of an MPEG layer III frame, from its first four bytes; None if they are not a frame header."""
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
