"""Features of clips on disk, so that second epochs and further runs need not work them out again.

A folder of files, one an entry, that any number of processes read and write at the same time: an entry is
written under a name of its own and renamed when it is whole, and holds a digest of its content, so that one
that was cut off or damaged is found, counted and made again. When a user's entries grow past the bound, those
used least recently go first.

The folder belongs to the cache alone: a new or an empty one is marked when something is first kept, and a
folder that holds anything else without the mark is not used. Inside of it, only files with the names of entries
and only those of the same owner are ever removed; symbolic links are not followed.

An entry's key says everything that its value depends on (`content_key` and the front end's own version), so
that an entry never has to be taken back.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from dramaeval.data.files import open_regular, read_regular

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_DIGEST = 32
_ENDING = ".clip"
_SUBFOLDER = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"[0-9a-f]{40}\.clip")
_UNFINISHED = re.compile(r"[0-9a-f]{40}\.clip\.[0-9]+-[0-9a-f]{32}\.tmp")
#: A file that nobody has finished within this time was left by a process that is gone.
_ABANDONED_SECONDS = 3600.0
#: The largest entry; ten minutes of sound take less than a tenth of it.
_MAX_ENTRY_BYTES = 2**30

#: The mark. Its name and first line follow https://bford.info/cachedir: backups leave the folder out.
_MARK = "CACHEDIR.TAG"
_MARK_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Features of clips, kept by dramaeval. The folder may be deleted at any time; put nothing else into it.\n"
)


class FeatureCache:
    """Tensors on disk, by key.

    A folder that cannot be used costs time and nothing else: that is logged once, and nothing is kept.

    Args:
        folder: new, empty, or marked by a cache; is made when something is first kept.
        max_bytes: the bound on the size of one user's entries. A process looks at the folder again whenever it
            has itself written a sixteenth of that, so that several processes may together pass it by as many
            sixteenths.

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
        self._reported = False
        self._is_foreign = not self._is_own_or_new()
        if self._is_foreign:
            self._report(f"{folder} holds files that are not of this cache")

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """An entry's tensors; None where there is none, or none that is whole."""
        import safetensors.torch

        path = self._path(key)
        if self._is_foreign or os.path.islink(path.parent):
            return None
        try:
            content = read_regular(path, max_bytes=_MAX_ENTRY_BYTES, follow_symlinks=False)
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        # A damaged entry stays until the one that is made now takes its place.
        if len(content) <= _DIGEST or _digest(body) != digest:
            self.counts["damaged"] += 1
            return None
        try:
            tensors = safetensors.torch.load(body)
        except safetensors.SafetensorError:
            self.counts["damaged"] += 1
            return None
        self.counts["read"] += 1
        with suppress(OSError):  # evicted by another process, or another user's
            os.utime(path, follow_symlinks=False)
        return tensors

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep tensors under a key; a disk that cannot take them costs time and nothing else."""
        import safetensors.torch

        body = safetensors.torch.save(
            {name: tensor.contiguous() for name, tensor in tensors.items()}
        )
        if self._is_foreign or len(body) + _DIGEST > _MAX_ENTRY_BYTES:
            self.counts["not kept"] += 1
            return
        path = self._path(key)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}-{uuid4().hex}.tmp")
        try:
            self._mark()
            path.parent.mkdir(exist_ok=True)
            if os.path.islink(path.parent):
                raise OSError(f"{path.parent} is a symbolic link")
            with open(unfinished, "xb") as stream:
                stream.write(_digest(body) + body)
                owner = os.fstat(stream.fileno()).st_uid
            unfinished.replace(path)
        except OSError as error:
            self.counts["not kept"] += 1
            self._report(str(error))
            with suppress(OSError):
                unfinished.unlink()
            return
        self.counts["written"] += 1
        self._unseen += len(body)
        if self._unseen >= self.max_bytes / 16:
            self._evict(owner)
            self._unseen = 0

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=20).hexdigest()
        return self.folder / name[:2] / f"{name}{_ENDING}"

    def _report(self, reason: str) -> None:
        """Log why nothing is kept, once."""
        if not self._reported:
            log.warning(
                "Features of clips are not kept on disk: %s. Results stay the same, but every process works "
                "them out again. Name a new or an empty folder with cache.folder=…, or set "
                "cache.enabled=false.",
                reason,
            )
        self._reported = True

    def _is_own_or_new(self) -> bool:
        """Whether the folder is marked, empty or not there."""
        # Listed first: whoever adds entries meanwhile has written the mark before.
        names = _names(self.folder)
        if all(name.startswith(f"{_MARK}.") for name in names):  # marks that are being written
            return True
        try:
            return read_regular(self.folder / _MARK, max_bytes=1024) == _MARK_TEXT.encode()
        except OSError:
            return False

    def _mark(self) -> None:
        """Make the folder and mark it, before anything else is written into it.

        Raises:
            OSError: it cannot be made, or is meanwhile somebody else's.
        """
        mark = self.folder / _MARK
        if mark.is_file():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._is_own_or_new():
            self._is_foreign = True
            raise OSError(f"{self.folder} holds files that are not of this cache")
        unfinished = self.folder / f"{_MARK}.{os.getpid()}-{uuid4().hex}"
        with open(unfinished, "x", encoding="utf-8") as stream:
            stream.write(_MARK_TEXT)
        unfinished.replace(mark)

    def _evict(self, owner: int) -> None:
        """Bring an owner's entries back within the bound, and clear away what killed processes have left."""
        entries, total = [], 0
        for path, status in self._files(owner):
            if _ENTRY.fullmatch(path.name):
                entries.append((status.st_mtime_ns, status.st_size, path))
                total += status.st_size
            elif time.time() - status.st_mtime > _ABANDONED_SECONDS:
                with suppress(OSError):
                    path.unlink()
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                return
            with suppress(OSError):  # another process was quicker
                path.unlink()
                self.counts["evicted"] += 1
            total -= size

    def _files(self, owner: int) -> Iterator[tuple[Path, os.stat_result]]:
        """The regular files of an owner that have names which `put` gives, entries and unfinished ones."""
        for subfolder in _names(self.folder):
            if not _SUBFOLDER.fullmatch(subfolder) or os.path.islink(self.folder / subfolder):
                continue
            for name in _names(self.folder / subfolder):
                known = _ENTRY.fullmatch(name) or _UNFINISHED.fullmatch(name)
                if not known or not name.startswith(subfolder):
                    continue
                path = self.folder / subfolder / name
                try:
                    status = path.lstat()
                except OSError:
                    continue  # another process was quicker
                if stat.S_ISREG(status.st_mode) and status.st_uid == owner:
                    yield path, status


def content_key(clip: str | Path) -> str:
    """A digest of a clip's file, which follows it under any name; the file is read once a process.

    Raises:
        OSError: it is not there to be read, or is no file that is read; see `open_regular`.
    """
    path = os.path.abspath(clip)
    status = os.stat(path)
    return _content_key(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=200_000)
def _content_key(path: str, size: int, changed: int) -> str:
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:40]


def _names(folder: Path) -> list[str]:
    """What a folder holds; nothing where it cannot be looked into."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()
