"""The content of a folder's lock file, and whether the processes that it names still run.

`dramaeval.distributed.folder_lock` takes and releases the lock. A process number alone does not identify a process,
since the system reuses numbers; a start time in seconds changes when the clock is changed. Therefore a process is
identified by its number, its start in ticks since the machine started, and the boot id, which identifies the machine
and its start.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

NAME = ".dramaeval.lock"
#: Seconds without a renewal after which a holder on another machine counts as gone.
STALE = 120.0
_PROC = Path("/proc")
#: The states of a process that has ended in Linux: zombie, dead.
_ENDED = ("Z", "X", "x")


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """Identifies a process among all processes of all machines.

    Attributes:
        host: the name of the machine, for messages.
        process: the number of the process.
        started: clock ticks between the start of the machine and the start of the process; seconds since 1970 on
            systems without ``/proc``.
        machine: the boot id and the namespace of process numbers (each container may have its own); the host
            name on systems without ``/proc``.
    """

    host: str
    process: int
    started: float
    machine: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        """The identity of this process."""
        number = os.getpid()
        started = _started(number)
        return cls(
            host=socket.gethostname(),
            process=number,
            started=0.0 if started is None else started,
            machine=_machine(),
        )

    @classmethod
    def from_json(cls, values: Any) -> ProcessIdentity:
        """The identity that `dataclasses.asdict` returned.

        Raises:
            ValueError: ``values`` is not such an identity.
        """
        kinds = {"host": str, "process": int, "started": int | float, "machine": str}
        if not isinstance(values, dict) or any(
            not isinstance(values.get(name), kind) for name, kind in kinds.items()
        ):
            raise ValueError(f"{values!r} is not the identity of a process")
        return cls(**{name: values[name] for name in kinds})

    def alive(self) -> bool | None:
        """Whether the process still runs; None if it belongs to another machine or container."""
        if self.machine != _machine():
            return None
        started = _started(self.process)
        if started is None:
            # Some systems hide the processes of other users; the number then still exists.
            return None if _is_hidden(self.process) else False
        return started == self.started


@cache
def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _started(number: int) -> float | None:
    """The start of a process of this machine as in `ProcessIdentity.started`; None if it has ended."""
    if not (_PROC / "self/stat").exists():
        try:
            process = psutil.Process(number)
            ended = process.status() == psutil.STATUS_ZOMBIE
            return None if ended else process.create_time()
        except (psutil.Error, ValueError):
            return None
    try:
        # The name is in brackets and may itself contain spaces and brackets; the state is the first field after it.
        fields = (_PROC / str(number) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0].decode() in _ENDED else int(fields[19])


def _is_hidden(number: int) -> bool:
    """Whether a process with this number exists that this user may not inspect."""
    try:
        os.kill(number, 0)
    except (OSError, OverflowError) as error:
        return isinstance(error, PermissionError)
    return False


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The content of a lock file.

    Attributes:
        token: a random text that identifies this lock.
        processes: the processes of the run; the first process took the lock. Empty if the file cannot be read.
        since: the date and time at which the lock was taken.
        job: the number of the SLURM job (``12``, or ``12_3`` in an array); a requeued job keeps its number.
        restarts: how often SLURM has restarted the job.
        renewed: the time of the last renewal, by the file system's clock, in seconds since 1970.
    """

    token: str
    processes: tuple[ProcessIdentity, ...] = ()
    since: str = ""
    job: str | None = None
    restarts: int = 0
    renewed: float = field(default=0.0, compare=False)

    @classmethod
    def own(cls) -> Holder:
        """A new lock of this process."""
        return cls(
            token=secrets.token_hex(8),
            processes=(ProcessIdentity.own(),),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
            job=_slurm_job(),
            restarts=_restarts(),
        )

    def has_been_requeued(self) -> bool:
        """Whether this process's SLURM job took the lock before it was requeued; that process has ended."""
        job = _slurm_job()
        return job is not None and self.job == job and self.restarts < _restarts()

    def alive(self) -> bool | None:
        """Whether any of the processes still runs; None if this machine cannot determine it."""
        states = [process.alive() for process in self.processes] or [None]
        if any(states):
            return True
        return None if None in states else False

    @property
    def description(self) -> str:
        """The holder in a form for messages."""
        if not self.processes:
            return "a process that cannot be named, since the lock cannot be read,"
        first = self.processes[0]
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {first.process} on {first.host}{job}, since {self.since},"

    def to_json(self) -> dict[str, Any]:
        """The content of the lock file."""
        return {name: value for name, value in asdict(self).items() if name != "renewed"}


def holder_of(folder: Path) -> Holder | None:
    """The holder of a folder's lock; None if the folder is free or the holder has ended. Does not wait."""
    holder = read_holder(folder / NAME)
    if holder is None or (alive := holder.alive()) is False:
        return None
    if alive is None and _now(folder) - holder.renewed > STALE:
        return None
    return holder


def read_holder(file: Path) -> Holder | None:
    """Read a lock file; None if it does not exist.

    The file is opened before its status is read, since NFS asks the server only when a file is opened.
    """
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            content = opened.read()
    except FileNotFoundError:
        return None
    except OSError:
        status, content = file.stat(), b""
    try:
        values = json.loads(content)
        processes = tuple(ProcessIdentity.from_json(process) for process in values["processes"])
        return Holder(
            token=str(values["token"]),
            processes=processes,
            since=str(values["since"]),
            job=values["job"],
            restarts=int(values["restarts"]),
            renewed=status.st_mtime,
        )
    except (ValueError, TypeError, KeyError):
        return Holder(token=f"unreadable-{status.st_ino}", renewed=status.st_mtime)


def _slurm_job() -> str | None:
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    return os.environ.get("SLURM_JOB_ID")


def _restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _now(folder: Path) -> float:
    """The time by the clock of a folder's file system, or of this machine if the folder is not writable."""
    probe = folder / f"{NAME}.{secrets.token_hex(8)}"
    try:
        probe.touch(exist_ok=False)
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return time.time()
    return now
