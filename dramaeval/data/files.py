"""Opening files that others made: regular files alone, and never more of one than is allowed for.

A pipe or a device has no end and may block for ever; a sparse file of some kilobytes on disk may claim to be
larger than the memory.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

#: The largest clip or JSONL file that is read, 4 GiB: as much as a WAV can hold.
MAX_FILE_BYTES = 4 * 2**30


class UnsuitableFileError(OSError):
    """A path that can be opened, but is not to be read: the `reason` and a `fix`, for people to read."""

    def __init__(self, reason: str, fix: str) -> None:
        self.reason, self.fix = reason, fix
        super().__init__(reason, fix)

    def __str__(self) -> str:
        return f"{self.reason}; {self.fix}"


def open_regular(
    path: str | Path, *, max_bytes: int = MAX_FILE_BYTES, follow_symlinks: bool = True
) -> io.FileIO:
    """Open a regular file for reading, unbuffered.

    Raises:
        UnsuitableFileError: it is a folder, a pipe, a socket or a device, or larger than ``max_bytes``.
        OSError, ValueError: it cannot be opened; a symbolic link where none is followed.
    """
    # Opening a pipe waits for somebody who writes into it, unless it is opened without blocking.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_symlinks else os.O_NOFOLLOW)
    status = os.stat(path, follow_symlinks=follow_symlinks)
    _require_suitable(status, max_bytes)  # before opening, which acts upon some devices
    descriptor = os.open(path, flags)
    try:
        _require_suitable(os.fstat(descriptor), max_bytes)
        return io.FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, *, max_bytes: int = MAX_FILE_BYTES, **options: bool) -> bytes:
    """The content of a regular file; raises as `open_regular`, also for a file that grows meanwhile."""
    with open_regular(path, max_bytes=max_bytes, **options) as stream:
        content = bytearray()
        while block := stream.read(min(max_bytes + 1 - len(content), 2**24)):
            content += block
            if len(content) > max_bytes:
                raise _too_large(len(content), max_bytes)
        return bytes(content)


def _require_suitable(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise UnsuitableFileError(f"is {kind}", "give the path of a file")
    if status.st_size > max_bytes:
        raise _too_large(status.st_size, max_bytes)


def _too_large(size: int, max_bytes: int) -> UnsuitableFileError:
    return UnsuitableFileError(
        f"holds {size:,} bytes, more than the {max_bytes:,} that are read of such a file",
        "check that it is the right file, or split it",
    )
