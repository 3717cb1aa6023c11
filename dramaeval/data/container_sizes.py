"""Compares the audio size in the header of an uncompressed file with the file's real size.

libsndfile opens truncated files, concatenated files and files with a wrong header without an error, and reads only the
part that the first header and the end of the file allow.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from dramaeval.data.file_window import FileWindow

#: Streaming writers write this 32-bit size, or a larger one, if they do not know the size.
_UNKNOWN_SIZE = 0x7FFFF000
#: Tolerance of a data size in bytes (2 ms of 16 kHz 16-bit audio): some writers count the header.
_SIZE_SLACK = 64
#: Number of bytes that are ignored at the end of a file (16 ms of 16 kHz 16-bit audio); a tag takes 128 of them.
TAIL_SLACK = 512
#: Largest number of chunks that are skipped; real files have a few.
_MAX_CHUNKS = 1000
#: Number of bytes of a NIST header that are read.
_NIST_BYTES = 4096

JOINED = (
    "several files joined end to end, of which only the first would be read (join decoded audio "
    "instead, for example with sox a.wav b.wav out.wav)"
)
"""The reason in messages about files that were concatenated with `cat`."""


class _Chunks(NamedTuple):
    """Layout of a container whose chunks consist of a name, a size and the content."""

    first: int  # position of the first chunk
    data: bytes  # name of the chunk with the audio
    name: int = 4  # number of bytes of the name
    size: int = 4  # number of bytes of the size
    order: Literal["little", "big"] = "little"  # byte order of the size
    align: int = 2  # chunks begin at multiples of this number
    counts_header: bool = False  # whether the size includes the name and the size themselves


_LAYOUTS = {
    b"RIFF": _Chunks(12, b"data"),
    b"RF64": _Chunks(12, b"data"),
    b"RIFX": _Chunks(12, b"data", order="big"),
    b"FORM": _Chunks(12, b"SSND", order="big"),
    b"caff": _Chunks(8, b"data", size=8, order="big", align=1),
    b"riff": _Chunks(40, b"data", name=16, size=8, align=8, counts_header=True),  # Wave64
}


def find_size_mismatch(content: FileWindow) -> str | None:
    """Describe how an uncompressed file's size contradicts its header; None if it does not, and for other files."""
    magic = content.at(0, 4)
    if magic in _LAYOUTS:
        return _chunk_mismatch(content, magic, _LAYOUTS[magic])
    if magic in (b".snd", b"dns."):
        return _au_mismatch(content, magic)
    if magic == b"NIST":
        return _nist_mismatch(content)
    if content.at(4, 4) == b"ftyp":
        return _boxes_mismatch(content)
    return None


class _Chunk(NamedTuple):
    name: bytes
    start: int  # position of its content
    length: int  # of its content, as the header says


def _chunk_at(content: FileWindow, position: int, layout: _Chunks) -> _Chunk | None:
    width = layout.name + layout.size
    header = content.at(position, width)
    if len(header) < width:
        return None
    length = int.from_bytes(header[layout.name :], layout.order)
    if layout.counts_header:
        length -= width
    return _Chunk(header[:4], position + width, length)


def _chunk_mismatch(content: FileWindow, magic: bytes, layout: _Chunks) -> str | None:
    """Find the audio chunk, and check its size and the bytes after it."""
    position, long_size = layout.first, 0
    for _ in range(_MAX_CHUNKS):
        chunk = _chunk_at(content, position, layout)
        if chunk is None or chunk.length < 0:
            return None  # libsndfile reports a file without audio
        if chunk.name == b"ds64":
            long_size = int.from_bytes(content.at(chunk.start + 8, 8), "little")
        if chunk.name == layout.data:
            return _data_mismatch(content, magic, layout, chunk, long_size)
        position = _end(chunk, layout)
    return f"damaged: no audio in its first {_MAX_CHUNKS} chunks"


def _data_mismatch(
    content: FileWindow, magic: bytes, layout: _Chunks, data: _Chunk, long_size: int
) -> str | None:
    unknown = 2**63 if layout.size == 8 else _UNKNOWN_SIZE
    if data.length >= unknown and long_size:
        data = data._replace(length=long_size)
    elif data.length >= unknown:
        return JOINED if content.find(b"WAVEfmt ", data.start) >= 0 else None
    available = content.size - data.start
    if data.length == 0 and available > 1:
        return f"its header says 0 bytes of audio, {available} follow (it was never closed)"
    if data.length > available + _SIZE_SLACK:
        return _cut(data.length, available)
    return _tail_mismatch(content, magic, layout, data)


def _tail_mismatch(content: FileWindow, magic: bytes, layout: _Chunks, data: _Chunk) -> str | None:
    """Check that only further chunks or padding follow the audio, not more audio or another file."""
    position, odd_end = _end(data, layout), data.start + data.length
    for _ in range(_MAX_CHUNKS):
        if content.size - position <= TAIL_SLACK:
            return None
        if content.at(position, 4) == magic:
            return JOINED
        chunk = _further_chunk(content, position, layout) or _further_chunk(
            content, odd_end, layout
        )
        if chunk is None:
            break
        position, odd_end = _end(chunk, layout), chunk.start + chunk.length
    if content.is_padding(position):
        return None
    return _uncounted(data.length, content.size - position)


def _further_chunk(content: FileWindow, position: int, layout: _Chunks) -> _Chunk | None:
    """The chunk at a position; None if there is no chunk name, or the chunk would end after the file."""
    chunk = _chunk_at(content, position, layout)
    if chunk is None or not re.fullmatch(rb"[ -~]{4}", chunk.name):
        return None
    fits = 0 <= chunk.length <= content.size - chunk.start + _SIZE_SLACK
    return chunk if fits else None


def _end(chunk: _Chunk, layout: _Chunks) -> int:
    end = chunk.start + chunk.length
    return end + -end % layout.align


def _au_mismatch(content: FileWindow, magic: bytes) -> str | None:
    """Sun AU: the header gives position and size of the audio, the last part of the file."""
    order: Literal["little", "big"] = "big" if magic == b".snd" else "little"
    start = int.from_bytes(content.at(4, 4), order)
    length = int.from_bytes(content.at(8, 4), order)
    return None if length >= _UNKNOWN_SIZE else _end_mismatch(content, magic, start, length)


def _nist_mismatch(content: FileWindow) -> str | None:
    """NIST SPHERE: a text header gives the numbers of samples, channels and bytes per sample."""
    header = content.at(0, _NIST_BYTES)
    start = re.match(rb"NIST_1A\s+(\d+)", header)
    values = dict(re.findall(rb"(?m)^(\w+) -i (\d+)", header))
    count, width = values.get(b"sample_count"), values.get(b"sample_n_bytes")
    if start is None or count is None or width is None:
        return None  # without a size there is nothing to compare
    length = int(count) * int(width) * int(values.get(b"channel_count", 1))
    return _end_mismatch(content, b"NIST", int(start[1]), length)


def _boxes_mismatch(content: FileWindow) -> str | None:
    """m4a and mp4: boxes that begin with their size and name; ``ftyp`` is the first box."""
    position = 0
    for number in range(_MAX_CHUNKS):
        header = content.at(position, 16)
        if len(header) < 8:
            return None
        if number and header[4:8] == b"ftyp":
            return JOINED
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:], "big")
        if length < 8:  # 0: the last box, to the end of the file
            return None
        position += length
        if position > content.size:
            return f"cut off: its parts take {position} bytes, {content.size} are there"
    return None


def _end_mismatch(content: FileWindow, magic: bytes, start: int, length: int) -> str | None:
    """Compare the end of the audio with the end of the file, for formats in which the audio is the last part."""
    available = content.size - start
    if length > available + _SIZE_SLACK:
        return _cut(length, available)
    if available - length <= TAIL_SLACK or content.is_padding(start + length):
        return None
    if content.at(start + length, len(magic)) == magic:
        return JOINED
    return _uncounted(length, available - length)


def _cut(declared: int, available: int) -> str:
    return f"cut off: its header says {declared} bytes of audio, {max(available, 0)} are there"


def _uncounted(declared: int, more: int) -> str:
    return (
        f"its header says {declared} bytes of audio, but {more} more bytes follow that are no part "
        "of the format (a wrong header, or joined files)"
    )
