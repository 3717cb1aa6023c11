"""The holder of a folder's lock: the content of the lock file, and whether its processes still run.

`dramaeval.distributed.folder_lock` takes and releases the lock.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dramaeval.distributed.process_identity import ProcessIdentity

NAME = ".dramaeval.lock"
#: Seconds without a renewal after which a holder on another machine counts as gone.
STALE = 120.0


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The content of a lock file.

    Attributes:
        token: a random name of this lock.
        processes: the processes of the run; the first one took the lock. Empty if the file cannot be read.
        since: the date and time at which the lock was taken.
        job: the number of the SLURM job, as `slurm_job`.
        restarts: how often SLURM has restarted the job.
        renewed: the last renewal by the file system's clock, in seconds since 1970.
    """

    token: str
    processes: tuple[ProcessIdentity, ...] = ()
    since: str = ""
    job: str | None = None
    restarts: int = 0
    renewed: float = field(default=0.0, compare=False)

    def alive(self) -> bool | None:
        """Whether any of the processes still runs; None if this machine cannot determine it."""
        states = [process.alive() for process in self.processes] or [None]
        if any(states):
            return True
        return None if None in states else False

    def in_words(self) -> str:
        """The holder for a message."""
        if not self.processes:
            return "a process that cannot be named, since the lock cannot be read,"
        first = self.processes[0]
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {first.process} on {first.host}{job}, since {self.since},"

    def to_json(self) -> dict[str, Any]:
        """Plain values for the lock's file."""
        return {
            "token": self.token,
            "processes": [process.to_json() for process in self.processes],
            "since": self.since,
            "job": self.job,
            "restarts": self.restarts,
        }


def holder_of(folder: Path) -> Holder | None:
    """The holder of a folder's lock, determined without waiting; None if the folder is free."""
    holder = read_holder(folder / NAME)
    if holder is None or (alive := holder.alive()) is False:
        return None
    if alive is None and _now(folder) - holder.renewed > STALE:
        return None
    return holder


def read_holder(file: Path) -> Holder | None:
    """Read a lock file; None if there is none.

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


def own_job(holder: Holder) -> bool:
    """Whether an earlier start of this SLURM job, which SLURM has ended, took the lock."""
    job = slurm_job()
    return job is not None and holder.job == job and holder.restarts < restarts()


def slurm_job() -> str | None:
    """The number of this SLURM job (``12``, ``12_3`` in an array); a requeued job keeps it."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    return os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """How often SLURM has restarted this job."""
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
