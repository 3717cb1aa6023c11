"""Writes audio that is stored inside a source's files to a folder unchanged, so that the usual checks can read it."""

from __future__ import annotations

import re
from pathlib import Path

from dramaeval.distributed.replacing import replacing

_SIGNS = (
    (b"RIFF", ".wav"), (b"RF64", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"),
    (b"FORM", ".aiff"), (b".snd", ".au"),
)  # fmt: skip


class AudioFolder:
    """Writes clips into a folder, which the first clip creates, under safe names that are unique in the source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()

    def write(self, name: str, content: bytes) -> str:
        """Write the bytes of an audio file; returns its absolute path. Folders in ``name`` are left out."""
        original = Path(name.replace("\\", "/"))
        stem = re.sub(r"[^\w.\-]+", "_", original.stem).strip(".") or "clip"
        ending = original.suffix or _ending(content)
        number, unique = 1, stem + ending
        while unique.casefold() in self._taken:
            number += 1
            unique = f"{stem}-{number}{ending}"
        self._taken.add(unique.casefold())
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / unique
        with replacing(path) as unfinished:  # another process may be reading the old file
            unfinished.write_bytes(content)
        return str(path.absolute())


def _ending(content: bytes) -> str:
    return next((ending for sign, ending in _SIGNS if content.startswith(sign)), ".wav")
