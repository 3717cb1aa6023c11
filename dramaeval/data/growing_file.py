"""A file to which lines are appended; the manifest lists its size and hash after each append."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import xxhash

from dramaeval.data.manifest import HASH, list_file, listed_entry

#: Largest number of positions with a hash of the file up to there; text after the last correct position is lost.
_MOST_PARTS = 64


class GrowingFile:
    """Appends to a file and updates its manifest entry each time; existing content counts as undamaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes() if path.is_file() else b""
        self._hash = xxhash.xxh3_128(content)
        self._size = len(content)
        self._parts = [part for part in _parts_of(path) if part[0] <= self._size]

    def append(self, text: str) -> None:
        """Append text, flush it to disk and update the manifest."""
        content = text.encode("utf-8")
        with self.path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._hash.update(content)
        self._size += len(content)
        self._list(growing=True)

    def close(self) -> None:
        """Mark the file as complete in the manifest."""
        self._list(growing=False)

    def _list(self, *, growing: bool) -> None:
        part = [self._size, self._hash.hexdigest()]
        if part not in self._parts:
            self._parts.append(part)
        if len(self._parts) > _MOST_PARTS:
            self._parts = self._parts[::2]  # an odd number of parts, so that the last one stays
        entry = {"size": part[0], HASH: part[1], "parts": self._parts, "growing": growing}
        list_file(self.path, entry)


def undamaged_bytes(path: Path, content: bytes) -> int | None:
    """Number of undamaged bytes at the start of a file; None if all are, or if no manifest lists the file.

    The text appended last may not be listed yet; it counts as undamaged if everything before it is.
    """
    undamaged, hasher, start = 0, xxhash.xxh3_128(), 0
    for size, digest in _parts_of(path):
        if size > len(content):
            return undamaged
        hasher.update(content[start:size])
        start = size
        if hasher.hexdigest() != digest:
            return undamaged
        undamaged = size
    return None


def _parts_of(path: Path) -> list[list[Any]]:
    entry = listed_entry(path) or {}
    return list(entry.get("parts") or ([[entry["size"], entry[HASH]]] if entry else []))
