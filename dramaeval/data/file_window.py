"""Random access to the bytes of a file with little memory, however large the file is."""

from __future__ import annotations

import io
import os

#: Number of bytes that are read at a time.
_WINDOW = 2**18


class FileWindow:
    """Reads parts of a file without changing the descriptor's position, which libsndfile uses."""

    def __init__(self, stream: io.FileIO) -> None:
        self._descriptor = stream.fileno()
        self._start, self._window = 0, b""
        self.size = os.fstat(self._descriptor).st_size

    def at(self, position: int, count: int) -> bytes:
        """`count` bytes from a position on; fewer at the end of the file."""
        offset = position - self._start
        if offset < 0 or offset + count > len(self._window):
            self._window = os.pread(self._descriptor, max(count, _WINDOW), position)
            self._start, offset = position, 0
        return self._window[offset : offset + count]

    def find(self, signature: bytes, start: int) -> int:
        """Position of the first occurrence of `signature` from `start` on, or -1."""
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
        """Whether the file contains only zeros from a position on."""
        position = start
        while block := self.at(position, _WINDOW):
            if block != bytes(len(block)):
                return False
            position += len(block)
        return True
