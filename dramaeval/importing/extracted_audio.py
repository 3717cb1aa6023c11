"""Audio that a source holds inside its files: written to a folder unchanged, so that the usual checks read it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

_SIGNS = (
    (b"RIFF", ".wav"), (b"RF64", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"),
    (b"FORM", ".aiff"), (b".snd", ".au"),
)  # fmt: skip


class AudioFolder:
    """Writes clips into a folder under safe names, which differ over all files of a source.

    Args:
        folder: created with the first clip.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()

    def write(self, name: str, content: bytes) -> str:
        """Write a clip; returns its absolute path.

        Args:
            name: wanted name, perhaps with folders, which are left out.
            content: of the audio file.
        """
        wanted = Path(name.replace("\\", "/")).name
        stem = re.sub(r"[^\w.\-]+", "_", Path(wanted).stem).strip(".") or "clip"
        ending = Path(wanted).suffix or _ending(content)
        number, free = 1, stem + ending
        while free.casefold() in self._taken:
            number += 1
            free = f"{stem}-{number}{ending}"
        self._taken.add(free.casefold())
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / free
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        unfinished.write_bytes(content)
        os.replace(unfinished, path)  # another process may read the clip that it replaces
        return str(path.absolute())


def _ending(content: bytes) -> str:
    return next((ending for sign, ending in _SIGNS if content.startswith(sign)), ".wav")


def is_audio(value: Any) -> bool:
    """Whether a cell is an undecoded `Audio` of the library datasets: a mapping with bytes and path."""
    return isinstance(value, dict) and set(value) == {"bytes", "path"}
