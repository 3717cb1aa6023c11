"""Who holds the lock of a folder: what its file says, and whether that process still works.

See `dramaeval.distributed.folder_lock` for how the lock is taken.
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
#: Seconds without a renewal after which a holder on another machine is believed to be gone.
STALE = 120.0


@dataclass(frozen=True, kw_only=True)
class Holder:
    """What a lock says of its holder.

    Attributes:
        token: of this lock alone.
        processes: of the run, the first that took the lock; empty where the lock cannot be read.
        since: when it was taken, in words.
        job, restarts: see `slurm_job` and `restarts`.
        renewed: time of the last renewal by the file system's clock, in seconds since 1970.
    """

    token: str
    processes: tuple[ProcessIdentity, ...] = ()
    since: str = ""
    job: str | None = None
    restarts: int = 0
    renewed: float = field(default=0.0, compare=False)

    def alive(self) -> bool | None:
        """Whether one of the processes still works; None where that cannot be seen from here."""
        states = [one.alive() for one in self.processes] or [None]
        if any(states):
            return True
        return None if None in states else False

    def in_words(self) -> str:
        """The holder as it stands in a message."""
        if not self.processes:
            return "a process that cannot be named, since the lock cannot be read,"
        first = self.processes[0]
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {first.process} on {first.host}{job}, since {self.since},"

    def to_json(self) -> dict[str, Any]:
        """Plain values for the lock's file."""
        return {
            "token": self.token,
            "processes": [one.to_json() for one in self.processes],
            "since": self.since,
            "job": self.job,
            "restarts": self.restarts,
        }


def holder_of(folder: Path) -> Holder | None:
    """Who works in a folder, as far as that can be told without waiting; None where nobody does."""
    holder = read_holder(folder / NAME)
    if holder is None or (alive := holder.alive()) is False:
        return None
    if alive is None and _now(folder) - holder.renewed > STALE:
        return None
    return holder


def read_holder(file: Path) -> Holder | None:
    """What a lock's file says; None where there is none.

    The file is opened first, since NFS looks at the server's state then and not before.
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
        processes = tuple(ProcessIdentity.from_json(one) for one in values["processes"])
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
    """Whether a lock is that of an earlier start of this SLURM job, which SLURM has ended before this one."""
    job = slurm_job()
    return job is not None and holder.job == job and holder.restarts < restarts()


def slurm_job() -> str | None:
    """SLURM's number of this job, which it keeps when it is requeued: ``12``, of an array ``12_3``."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    return os.environ.get("SLURM_JOB_ID")


def restarts() -> int:
    """How often SLURM has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def _now(folder: Path) -> float:
    """The time by the clock of a folder's file system; this machine's where nothing can be written there."""
    probe = folder / f"{NAME}.{secrets.token_hex(8)}"
    try:
        probe.touch(exist_ok=False)
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return time.time()
    return now
