"""The identity of a process, which stays the same when the clock is changed.

The system reuses process numbers, and computes a start time in seconds from the clock: after a change of the
clock a running process would look like another one. The kernel's count of ticks since the machine started does
not change, and the boot id names the machine and its start.
"""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_PROC = Path("/proc")
#: Process states that Linux shows after the end: zombie, dead.
_ENDED = ("Z", "X", "x")


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """Identifies a process among all processes of all machines.

    Attributes:
        host: the name of the machine, for messages.
        process: the process number.
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
        """The identity that `to_json` wrote.

        Raises:
            ValueError: ``values`` is not such an identity.
        """
        kinds = {"host": str, "process": int, "started": int | float, "machine": str}
        if not isinstance(values, dict) or any(
            not isinstance(values.get(name), kind) for name, kind in kinds.items()
        ):
            raise ValueError(f"{values!r} is not the identity of a process")
        return cls(**{name: values[name] for name in kinds})

    def to_json(self) -> dict[str, Any]:
        """The identity in plain values."""
        return asdict(self)

    def alive(self) -> bool | None:
        """Whether the process still runs; None if it is on another machine or in another container."""
        if self.machine != _machine():
            return None
        started = _started(self.process)
        if started is None:
            # Some systems hide the processes of other users, but their numbers are in use.
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
        # The name, in brackets, may hold spaces and brackets; the state is the first field after it.
        fields = (_PROC / str(number) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0].decode() in _ENDED else int(fields[19])


def _is_hidden(number: int) -> bool:
    """Whether a process of this number exists that this user may not inspect."""
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False
