"""A file to which lines are appended: the manifest lists how far it was written, and with which content."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import xxhash

from dramaeval.data.manifest import HASH, list_file, listed_entry

#: Places in the file up to which it can be verified; damage costs what is between two of them.
_MOST_PARTS = 64


class GrowingFile:
    """Appends to a file and lists it after each time.

    Args:
        path: of the file; what is there by now counts as whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes() if path.is_file() else b""
        self._hash = xxhash.xxh3_128(content)
        self._size = len(content)
        self._parts = [part for part in _parts_of(path) if part[0] <= self._size]

    def append(self, text: str) -> None:
        """Write text to the disk and list it."""
        content = text.encode("utf-8")
        with self.path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._hash.update(content)
        self._size += len(content)
        self._list(growing=True)

    def close(self) -> None:
        """List the file as complete."""
        self._list(growing=False)

    def _list(self, *, growing: bool) -> None:
        part = [self._size, self._hash.hexdigest()]
        if part not in self._parts:
            self._parts.append(part)
        if len(self._parts) > _MOST_PARTS:
            self._parts = self._parts[::2]  # the last of an odd number stays
        entry = {"size": part[0], HASH: part[1], "parts": self._parts, "growing": growing}
        list_file(self.path, entry)


def whole_part(path: Path, content: bytes) -> int | None:
    """How many of a file's bytes are whole; None where all are, or where no manifest lists the file.

    What was appended last may not be listed yet. It counts as whole where everything before it is.
    """
    whole, found, at = 0, xxhash.xxh3_128(), 0
    for size, digest in _parts_of(path):
        if size > len(content):
            return whole
        found.update(content[at:size])
        at = size
        if found.hexdigest() != digest:
            return whole
        whole = size
    return None


def _parts_of(path: Path) -> list[list[Any]]:
    entry = listed_entry(path) or {}
    return list(entry.get("parts") or ([[entry["size"], entry[HASH]]] if entry else []))
