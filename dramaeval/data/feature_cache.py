"""Features of clips on disk, so that second epochs and further runs need not work them out again.

A folder of files, one an entry, that any number of processes read and write at the same time: an entry is
written under a name of its own and renamed when it is whole, and holds a digest of its content, so that one
that was cut off or damaged is found, counted and made again. When the folder grows past its bound, what was
used least recently goes first.

An entry's key says everything that its value depends on (`content_key` and the front end's own version), so
that an entry never has to be taken back.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    import torch

_DIGEST = 32
_ENDING = ".clip"
#: A file that nobody has finished within this time was left by a process that is gone.
_ABANDONED_SECONDS = 3600.0


class FeatureCache:
    """Tensors on disk, by key.

    Args:
        folder: is made when something is first kept; several caches must not share one.
        max_bytes: the bound on its size. A process looks at the folder again whenever it has itself written a
            sixteenth of that, so that several processes may together pass it by as many sixteenths.

    Attributes:
        counts: what was ``read``, ``written``, ``evicted``, found ``damaged`` or not to be ``kept`` (a full or
            read-only disk) by this process.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.counts: Counter[str] = Counter()
        # So that the first entry of a process looks at what others have left.
        self._unseen = max_bytes

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """An entry's tensors; None where there is none, or none that is whole."""
        import safetensors.torch

        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        if len(content) <= _DIGEST or _digest(body) != digest:
            self.counts["damaged"] += 1
            with suppress(OSError):
                path.unlink()
            return None
        self.counts["read"] += 1
        with suppress(OSError):  # evicted by another process, or not ours to touch
            os.utime(path)
        return safetensors.torch.load(body)

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep tensors under a key; a disk that cannot take them costs time and nothing else."""
        import safetensors.torch

        body = safetensors.torch.save({name: one.contiguous() for name, one in tensors.items()})
        path = self._path(key)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}-{uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(_digest(body) + body)
            unfinished.replace(path)
        except OSError:
            self.counts["not kept"] += 1
            with suppress(OSError):
                unfinished.unlink()
            return
        self.counts["written"] += 1
        self._unseen += len(body)
        if self._unseen >= self.max_bytes / 16:
            self._evict()
            self._unseen = 0

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=20).hexdigest()
        return self.folder / name[:2] / f"{name}{_ENDING}"

    def _evict(self) -> None:
        """Bring the folder back within its bound, and clear away what killed processes have left."""
        found, total = [], 0
        for path in self.folder.glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue  # another process was quicker
            if path.suffix == _ENDING:
                found.append((status.st_mtime_ns, status.st_size, path))
                total += status.st_size
            elif time.time() - status.st_mtime > _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)
        for _, size, path in sorted(found):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            self.counts["evicted"] += 1
            total -= size


def content_key(clip: str | Path) -> str:
    """A digest of a clip's file, which follows it under any name; the file is read once a process.

    Raises:
        OSError: it is not there to be read.
    """
    path = os.path.abspath(clip)
    status = os.stat(path)
    return _content_key(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=200_000)
def _content_key(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:40]


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()
