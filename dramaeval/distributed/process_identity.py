"""Which process wrote a file, in terms that a change of the clock does not touch.

A process number is used again after a while, and a start time in seconds is worked out from the clock: one step
of the clock makes a living process look like another one. The kernel's own count of ticks since the machine was
started does not move, and the boot id says which start of which machine it counts from.
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
    """A process, told apart from any other of any machine.

    Attributes:
        host: the machine's name, for people.
        process: its number.
        started: clock ticks from the start of the machine to that of the process; seconds since 1970 on systems
            without ``/proc``.
        machine: this start of this machine and its namespace of process numbers (each container may have its
            own); the host's name on systems without ``/proc``.
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
            ValueError: it is none.
        """
        kinds = {"host": str, "process": int, "started": int | float, "machine": str}
        if not isinstance(values, dict) or any(
            not isinstance(values.get(name), kind) for name, kind in kinds.items()
        ):
            raise ValueError(f"{values!r} names no process")
        return cls(**{name: values[name] for name in kinds})

    def to_json(self) -> dict[str, Any]:
        """The identity in plain values."""
        return asdict(self)

    def alive(self) -> bool | None:
        """Whether the process still works; None where this process cannot see it.

        Processes of another machine and of another container cannot be seen.
        """
        if self.machine != _machine():
            return None
        started = _started(self.process)
        if started is None:
            # Some systems hide the processes of other users; their numbers are taken nevertheless.
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
    """When a process of this machine started, as `ProcessIdentity.started`; None if it has ended."""
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
    """Whether there is a process of this number that this user may not look at."""
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False
