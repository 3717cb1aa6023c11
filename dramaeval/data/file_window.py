"""Random access to the bytes of a file whose memory does not grow with the file."""

from __future__ import annotations

import io
import os
from typing import IO

#: Bytes of a file that are read at a time.
_WINDOW = 2**18


class FileWindow:
    """Reads parts of a file without moving the descriptor's own position, from which libsndfile reads."""

    def __init__(self, stream: IO[bytes] | io.FileIO) -> None:
        self._descriptor = stream.fileno()
        self._start, self._window = 0, b""
        self.size = os.fstat(self._descriptor).st_size

    def at(self, position: int, count: int) -> bytes:
        """The bytes from a position on; fewer at the end of the file."""
        offset = position - self._start
        if offset < 0 or offset + count > len(self._window):
            self._window = os.pread(self._descriptor, max(count, _WINDOW), position)
            self._start, offset = position, 0
        return self._window[offset : offset + count]

    def find(self, signature: bytes, start: int) -> int:
        """Position of the first occurrence of some bytes from a position on, or -1."""
        position = start
        while position < self.size:
            block = self.at(position, _WINDOW)
            offset = block.find(signature)
            if offset >= 0:
                return position + offset
            if len(block) < _WINDOW:
                break
            position += _WINDOW - len(signature) + 1
        return -1

    def is_padding(self, start: int) -> bool:
        """Whether only zeros follow from a position on."""
        position = start
        while block := self.at(position, _WINDOW):
            if block != bytes(len(block)):
                return False
            position += len(block)
        return True
