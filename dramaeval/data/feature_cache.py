"""A cache of clip features on disk, so that later epochs and runs do not compute them again.

The cache is a folder with one file per entry, which any number of processes may read and write at the same
time. An entry is written under a temporary name and then renamed. It contains a digest of its content, so that
a damaged entry is detected, counted and computed again. If a user's entries exceed the size limit, the least
recently used are removed first.

The folder may contain only the cache: a new or empty folder is marked at the first write, and a folder with
other content and no mark is not used. Only files that have the name of an entry and the same owner are
removed; symbolic links are not followed.

An entry's key includes everything that determines the value (`dramaeval.data.files.content_key` and the version of the transform),
so that entries never become invalid.
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
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from uuid import uuid4

from dramaeval.data.files import read_regular

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

_DIGEST = 32
_SUBFOLDER = re.compile(r"[0-9a-f]{2}")
_ENTRY = re.compile(r"[0-9a-f]{40}\.clip")
_UNFINISHED = re.compile(r"[0-9a-f]{40}\.clip\.[0-9]+-[0-9a-f]{32}\.tmp")
#: An unfinished file that is older than this belongs to a process that has ended.
_ABANDONED_SECONDS = 3600.0
#: Largest size of an entry; ten minutes of audio take less than a tenth of it.
_MAX_ENTRY_BYTES = 2**30

#: Name of the file that marks a cache. Name and first line follow https://bford.info/cachedir, so that backups skip it.
_MARK = "CACHEDIR.TAG"
_MARK_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Features of clips, kept by dramaeval. The folder may be deleted at any time; put nothing else into it.\n"
)


class FeatureCache:
    """Tensors on disk, by key.

    If the folder cannot be used, this is logged once, nothing is stored, and results stay the same.

    Args:
        folder: a new, empty or marked folder; it is created at the first write.
        max_bytes: limit of the size of one user's entries. A process checks the size whenever it has written a
            sixteenth of the limit, so that each process may exceed it by a sixteenth.

    Attributes:
        counts: number of entries that this process has ``read``, ``written`` or ``evicted``, found ``damaged``,
            or could not store (``not kept``, for example on a full or read-only disk).
    """

    _reported: ClassVar[set[Path]] = set()  # several stages of a run open the same folder

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.counts: Counter[str] = Counter()
        # The first write of a process checks the size, because other processes may have written entries.
        self._unseen = max_bytes
        self._is_foreign = not self._is_cache_or_empty()
        if self._is_foreign:
            self._report(f"{folder} holds files that are not of this cache")

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """An entry's tensors; None if the entry does not exist or is damaged."""
        import safetensors.torch

        path = self._path(key)
        if self._is_foreign or os.path.islink(path.parent):
            return None
        try:
            content = read_regular(path, max_bytes=_MAX_ENTRY_BYTES, follow_symlinks=False)
        except OSError:
            return None
        digest, body = content[:_DIGEST], content[_DIGEST:]
        try:
            tensors = safetensors.torch.load(body) if _digest(body) == digest else None
        except safetensors.SafetensorError:
            tensors = None
        if tensors is None:  # a damaged entry stays until `put` replaces it
            self.counts["damaged"] += 1
            return None
        self.counts["read"] += 1
        # Another process may have evicted the entry, or it belongs to another user.
        with suppress(OSError):
            os.utime(path, follow_symlinks=False)
        return tensors

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Store tensors under a key; if the disk cannot store them, this is counted and logged once."""
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

    def side_folder(self, name: str) -> Path | None:
        """A subfolder for other files that can be made again; None if the cache folder cannot be used.

        The caller creates it. Its files do not count towards the size limit and are not evicted.
        """
        try:
            self._mark()
        except OSError as error:
            self._report(str(error))
        usable = not self._is_foreign and self._is_cache_or_empty()
        return self.folder / name if usable else None

    def _path(self, key: str) -> Path:
        name = hashlib.blake2b(key.encode(), digest_size=20).hexdigest()
        return self.folder / name[:2] / f"{name}.clip"

    def _report(self, reason: str) -> None:
        """Log why nothing is stored, once per folder and process."""
        if self.folder not in self._reported:
            log.warning(
                "Features of clips are not kept on disk: %s. Results stay the same, but every process computes "
                "them again. Name a new or an empty folder with cache.folder=…, or set "
                "cache.enabled=false.",
                reason,
            )
        self._reported.add(self.folder)

    def _is_cache_or_empty(self) -> bool:
        """Whether the folder is marked, empty or absent."""
        # List before reading the mark: every process writes the mark before its first entry.
        names = _names(self.folder)
        if all(name.startswith(f"{_MARK}.") for name in names):  # only unfinished marks
            return True
        try:
            return read_regular(self.folder / _MARK, max_bytes=1024) == _MARK_TEXT.encode()
        except OSError:
            return False

    def _mark(self) -> None:
        """Create the folder and its mark before any entry is written.

        Raises:
            OSError: the folder cannot be created, or another program has put files into it.
        """
        mark = self.folder / _MARK
        if mark.is_file():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._is_cache_or_empty():
            self._is_foreign = True
            raise OSError(f"{self.folder} holds files that are not of this cache")
        unfinished = self.folder / f"{_MARK}.{os.getpid()}-{uuid4().hex}"
        with open(unfinished, "x", encoding="utf-8") as stream:
            stream.write(_MARK_TEXT)
        unfinished.replace(mark)

    def _evict(self, owner: int) -> None:
        """Remove unfinished files of killed processes, and an owner's oldest entries down to the size limit."""
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
            with suppress(OSError):  # another process has removed it
                path.unlink()
                self.counts["evicted"] += 1
            total -= size

    def _files(self, owner: int) -> Iterator[tuple[Path, os.stat_result]]:
        """An owner's regular files that have the name of an entry or of an unfinished entry."""
        for subfolder in _names(self.folder):
            if not _SUBFOLDER.fullmatch(subfolder) or os.path.islink(self.folder / subfolder):
                continue
            for name in _names(self.folder / subfolder):
                is_entry = _ENTRY.fullmatch(name) or _UNFINISHED.fullmatch(name)
                if not is_entry or not name.startswith(subfolder):
                    continue
                path = self.folder / subfolder / name
                try:
                    status = path.lstat()
                except OSError:
                    continue  # another process has removed it
                if stat.S_ISREG(status.st_mode) and status.st_uid == owner:
                    yield path, status


def _names(folder: Path) -> list[str]:
    """The names in a folder; empty if it cannot be listed."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST).digest()
