"""Reads input files safely (only regular files, and only up to a size limit), and finds files with the same bytes.

A pipe or a device may have no end or block for ever; a sparse file of a few kilobytes on disk may have a size
larger than the memory.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

#: Size of the largest clip or JSONL file that is read: 4 GiB, as the largest WAV.
MAX_FILE_BYTES = 4 * 2**30
#: Number of threads that read files.
WORKERS = 8
#: Batches of files per thread: with more, a slow file delays fewer others; with fewer, the overhead is lower.
_BATCHES_PER_THREAD = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class UnsuitableFileError(OSError):
    """A path exists, but must not be read; with a `reason` and a `fix` for the user."""

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
        OSError, ValueError: it cannot be opened, or is a symbolic link although ``follow_symlinks`` is false.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_symlinks else os.O_NOFOLLOW)
    status = os.stat(path, follow_symlinks=follow_symlinks)
    _require_suitable(status, max_bytes)  # before opening, which has side effects on some devices
    descriptor = os.open(path, flags)
    try:
        _require_suitable(os.fstat(descriptor), max_bytes)
        return io.FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, *, max_bytes: int = MAX_FILE_BYTES, **options: bool) -> bytes:
    """Read a regular file; raises as `open_regular`, also if the file grows over the limit while it is read."""
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


def map_files(
    function: Callable[[Item], Result], files: Iterable[Item], workers: int = WORKERS
) -> dict[Item, Result]:
    """Call ``function`` for each file in ``workers`` threads, and return the results in the files' order.

    Threads are faster because network storage answers many requests at the same time.
    """
    items = list(files)
    size = max(1, len(items) // (workers * _BATCHES_PER_THREAD))
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        results = pool.map(lambda batch: [function(item) for item in batch], batches)
        return dict(zip(items, [result for batch in results for result in batch], strict=True))


def same_content(clips: Iterable[Path], workers: int = WORKERS) -> dict[Path, Path]:
    """Map each file to the first file in `clips` with the same bytes (often the file itself).

    Only files of equal size are read. A re-encoded copy is a different clip.
    """
    distinct = list(dict.fromkeys(clips))
    sizes = map_files(lambda clip: clip.stat().st_size, distinct, workers)
    counts = Counter(sizes.values())
    candidates = [clip for clip in distinct if counts[sizes[clip]] > 1]
    digests = map_files(content_key, candidates, workers)
    first: dict[str, Path] = {}
    return {
        clip: first.setdefault(digests[clip], clip) if clip in digests else clip
        for clip in distinct
    }


def content_key(clip: str | Path) -> str:
    """A digest of a clip's content, whatever its name; each file is read once per process.

    Raises:
        OSError: the file does not exist, or `open_regular` rejects it.
    """
    path = os.path.abspath(clip)
    status = os.stat(path)
    # mtime can be set back after a change, ctime cannot.
    return _content_key(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=200_000)
def _content_key(path: str, size: int, *changed: int) -> str:
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:40]
