"""Locks a folder, so that only one run or one sweep works in it at a time.

The lock is a file in the folder that names its holder. A hard link creates the file with its content; this succeeds for
one process only, even on NFS. A holder on this machine is alive while its process runs. A holder on another machine
renews the file's modification time. It counts as gone if that time has not changed for `STALE` seconds by the file
system's clock, and then for another `WATCH` seconds that this process counts. A requeued SLURM job takes over the lock
that it held before.

All processes of a run share the lock of rank 0: `share` writes their identities into it, so that the lock is held while
any of them runs.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from dramaeval.distributed.lock_holder import NAME, STALE, Holder, ProcessIdentity, read_holder
from dramaeval.distributed.processes import Processes
from dramaeval.errors import UserFacingError

log = logging.getLogger(__name__)

#: Seconds between two renewals.
RENEW = 20.0
#: Seconds for which a lock whose holder seems to be gone is watched before it is taken over.
WATCH = 30.0
_ATTEMPTS = 20


class FolderInUseError(UserFacingError, RuntimeError):
    """Another process works in the folder; the message names the process in one line."""


class FolderLock:
    """The lock of a folder.

    Args:
        folder: the folder; `acquire` creates it if it does not exist.
        choose: the setting that selects another folder, for messages.
        file: the lock file; None for the default name in the folder.
    """

    def __init__(
        self, folder: Path, choose: str = "hydra.run.dir=…", file: Path | None = None
    ) -> None:
        self.folder, self.choose = folder, choose
        self.file = file or folder / NAME
        self.process = os.getpid()
        self.depth = 0
        self._renewal: threading.Event | None = None
        self.holder = Holder.own()

    def acquire(self) -> None:
        """Take the lock, and renew it until it is released.

        Raises:
            FolderInUseError: another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take()
        for claim in self.folder.glob(f"{NAME}.after-*"):
            # A process was killed while it removed an earlier lock.
            claim.unlink(missing_ok=True)
        self._renewal = threading.Event()
        threading.Thread(target=self._renew, args=(self._renewal,), daemon=True).start()

    def release(self) -> None:
        """Release the lock; does nothing in a process that was forked from the holder."""
        if self._renewal is None or self.process != os.getpid():
            return
        self._renewal.set()
        self._renewal = None
        # If the file cannot be removed, other processes still find in it that its holder has ended.
        with suppress(OSError, FolderInUseError):
            self._remove(self.holder.token)

    def share(self, processes: Sequence[ProcessIdentity]) -> None:
        """Add processes to the holders in the lock file."""
        members = dict.fromkeys([*self.holder.processes, *processes])
        self.holder = replace(self.holder, processes=tuple(members))
        os.replace(self._candidate(), self.file)

    def _take(self) -> None:
        for _ in range(_ATTEMPTS):
            candidate = self._candidate()
            try:
                if self._create(candidate):
                    return
                holder = read_holder(self.file)
                if holder is None:
                    continue  # the lock has been released meanwhile
                self._require_gone(holder, candidate)
            finally:
                candidate.unlink(missing_ok=True)
            log.warning(
                "%s was locked by %s which is gone; its lock is taken over.",
                self.folder,
                holder.description,
            )
            self._remove(holder.token)
        raise FolderInUseError(
            f"{self.file} changes its holder repeatedly: other processes try to lock {self.folder} too. "
            "Wait until they have ended, or use another folder."
        )

    def _candidate(self) -> Path:
        """Write a complete lock file under another name; its modification time comes from the file system's clock."""
        candidate = self.file.with_name(f"{NAME}.{secrets.token_hex(8)}")
        with candidate.open("x", encoding="utf-8") as file:
            json.dump(self.holder.to_json(), file)
            file.flush()
            os.fsync(file.fileno())
        return candidate

    def _create(self, candidate: Path) -> bool:
        """Create the lock file if it does not exist; returns whether this process created it."""
        try:
            os.link(candidate, self.file)
        except FileExistsError:
            # NFS reports this error even for a link that it has created, if its first answer was lost.
            return candidate.stat().st_nlink == 2
        except OSError:  # a file system without hard links; the new file is empty for a moment
            try:
                with self.file.open("x", encoding="utf-8") as file:
                    json.dump(self.holder.to_json(), file)
            except FileExistsError:
                return False
        return True

    def _require_gone(self, holder: Holder, candidate: Path) -> None:
        """Check that the holder of a lock is gone.

        Raises:
            FolderInUseError: the holder is alive, or its state is unknown.
        """
        alive = holder.alive()
        renewed = ""
        if alive is None and not holder.has_been_requeued():
            os.utime(candidate)
            age = candidate.stat().st_mtime - holder.renewed
            alive = age <= STALE or not self._stays(holder)
            renewed = (
                f"It renewed {self.file} {max(age, 0):.0f} s ago; if it is gone, remove that file. "
            )
        if not alive:
            return
        raise FolderInUseError(
            f"{self.folder} is in use by {holder.description} and two processes would overwrite each other's "
            f"files. {renewed}Wait until it ends, or choose another folder with {self.choose}."
        )

    def _stays(self, holder: Holder) -> bool:
        """Whether a lock stays unchanged while this process watches it for `WATCH` seconds."""
        log.warning(
            "%s is locked by %s which has not renewed its lock lately. It is watched for %.0f s.",
            self.folder,
            holder.description,
            WATCH,
        )
        end = time.monotonic() + WATCH
        while time.monotonic() < end:
            time.sleep(min(1.0, WATCH / 10))
            now = read_holder(self.file)
            if now is None or now != holder or now.renewed != holder.renewed:
                return False
        return True

    def _remove(self, token: str) -> None:
        """Remove the lock file if it has the given token.

        Another process could replace the file after this process has read it. Therefore a process that removes the
        file first takes a second lock, whose name contains the token.

        Raises:
            FolderInUseError: another process is removing it.
        """
        claim = FolderLock(
            self.folder, self.choose, self.file.with_name(f"{self.file.name}.after-{token}")
        )
        claim._take()
        try:
            holder = read_holder(self.file)
            if holder is not None and holder.token == token:
                self.file.unlink()
        finally:
            claim.file.unlink(missing_ok=True)

    def _renew(self, released: threading.Event) -> None:
        while not released.wait(RENEW):
            # A full disk or a lost connection may be temporary; the next renewal tries again.
            with suppress(OSError):
                self._renew_once(released)

    def _renew_once(self, released: threading.Event) -> None:
        holder = read_holder(self.file)
        if holder is None:
            # A user has removed the file, or the whole folder.
            if self.folder.is_dir() and not released.is_set():
                candidate = self._candidate()
                self._create(candidate)
                candidate.unlink()
        elif holder.processes and holder.token != self.holder.token:
            # This process was suspended for so long that another process has taken over the folder. This process
            # exits at once, since anything that it writes would damage the other's files.
            print(
                f"\nProcess {os.getpid()} ends: {self.folder} was taken over by {holder.description} while "
                "this one did not renew its lock.",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)
        else:
            os.utime(self.file)


#: The locks of this process, by folder.
_HELD: dict[Path, FolderLock] = {}


def take(folder: Path, choose: str = "hydra.run.dir=…") -> FolderLock:
    """Lock a folder until the end of the first `locked` block for it, or until the process ends.

    Raises:
        FolderInUseError: another process holds it.
    """
    path = folder.resolve()
    lock = _HELD.get(path)
    if lock is None or lock.process != os.getpid():
        lock = FolderLock(path, choose)
        lock.acquire()
        _HELD[path] = lock
    return lock


def release(folder: Path) -> None:
    """Release a folder's lock if this process holds it."""
    lock = _HELD.pop(folder.resolve(), None)
    if lock is not None:
        lock.release()


@contextmanager
def locked(folder: Path, choose: str = "hydra.run.dir=…") -> Iterator[FolderLock]:
    """Hold a folder's lock; in nested blocks the outermost block releases it.

    Raises:
        FolderInUseError: another process holds it.
    """
    lock = take(folder, choose)
    lock.depth += 1
    try:
        yield lock
    finally:
        lock.depth -= 1
        if lock.depth == 0:
            release(folder)


@contextmanager
def locked_together(folder: Path, processes: Processes) -> Iterator[None]:
    """Hold a run folder's lock for all processes of the run, which all enter this block.

    Raises:
        FolderInUseError: on rank 0, if another run holds the lock.
    """
    members = processes.gather(ProcessIdentity.own())
    if not processes.is_rank_zero:
        yield
        return
    with locked(folder) as lock:
        if processes.count > 1:
            lock.share(members)
        yield


def remove_lock(folder: Path, holder: Holder) -> None:
    """Remove the lock of a holder that has ended; a lock of another holder is kept."""
    with suppress(FolderInUseError):
        FolderLock(folder)._remove(holder.token)


def token_of(folder: Path) -> str | None:
    """The token that a child process passes to `adopt`; None if this process holds no lock on the folder."""
    lock = _HELD.get(folder.resolve())
    return lock.holder.token if lock else None


def adopt(folder: Path, token: str | None) -> None:
    """Use the lock that the parent process holds, if it still has this token."""
    path = folder.resolve()
    holder = read_holder(path / NAME)
    if token is None or holder is None or holder.token != token:
        return
    lock = FolderLock(path)
    lock.holder, lock.depth = holder, 1
    _HELD[path] = lock


@atexit.register
def _release_all() -> None:
    for folder in list(_HELD):
        release(folder)
