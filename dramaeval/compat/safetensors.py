"""Private parts of safetensors."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_weights_follow_umask(folder: Path) -> Iterator[None]:
    """Give the safetensors files that this block writes into a folder the permissions of new files.

    Files that the block does not change keep their permissions.

    Reaches: the permissions of the temporary file that safetensors writes and renames.
    Why: only the owner can read that file, so that group members who can read the run folder could not load the model.
    Since: safetensors 0.8.
    Remove when: `safetensors.torch.save_file` writes files with the permissions of the umask.
    """
    before = {file: file.stat().st_ino for file in _weights(folder)}
    yield
    follow_umask(file for file in _weights(folder) if before.get(file) != file.stat().st_ino)


def follow_umask(files: Iterable[Path]) -> None:
    """Give files and folders the permissions of new files and folders; links are not followed."""
    mask = _umask()
    for file in files:
        mode = file.lstat().st_mode
        if stat.S_ISREG(mode):
            file.chmod(0o666 & ~mask)
        elif stat.S_ISDIR(mode):
            file.chmod(0o777 & ~mask)


def _weights(folder: Path) -> list[Path]:
    """The safetensors files of a folder and of its subfolders, where PEFT saves named adapters."""
    return [*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")]


def _umask() -> int:
    """This process's umask; the system returns it only when a new one is set."""
    mask = os.umask(0o077)  # files that other threads create at this moment are private
    os.umask(mask)
    return mask
