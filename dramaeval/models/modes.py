"""Permissions of written weights: those of every other file, as the umask has them.

safetensors (0.8) writes into a temporary file that its owner alone may read, and renames that. Colleagues of a
group, who may read the rest of a run folder, could then not load the model.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_weights_follow_umask(folder: Path) -> Iterator[None]:
    """Give the safetensors files that are written into a folder meanwhile the permissions of new files.

    Files that are there already and stay as they are keep their permissions.
    """
    before = {file: file.stat().st_ino for file in _weights(folder)}
    yield
    follow_umask(file for file in _weights(folder) if before.get(file) != file.stat().st_ino)


def follow_umask(files: Iterable[Path]) -> None:
    """Give files and folders the permissions that new ones get; links are left alone."""
    mask = _umask()
    for file in files:
        mode = file.lstat().st_mode
        if stat.S_ISREG(mode):
            file.chmod(0o666 & ~mask)
        elif stat.S_ISDIR(mode):
            file.chmod(0o777 & ~mask)


def _weights(folder: Path) -> list[Path]:
    """Those of a folder and, where PEFT puts adapters with names, of its subfolders."""
    return [*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")]


def _umask() -> int:
    """This process's umask; it can only be asked for by setting it."""
    mask = os.umask(0o077)  # what other threads create meanwhile is private
    os.umask(mask)
    return mask
