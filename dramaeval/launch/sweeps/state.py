"""What has become of a run of a sweep, kept in ``state.json`` of its folder.

The run itself writes it, at its beginning and at its end. Where it ended without a word, whoever watches the
sweep writes what is known instead.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import psutil

from dramaeval.config.secrets import masked, without_secrets
from dramaeval.data.manifest import DamagedFileError, read_sealed, sealed
from dramaeval.distributed.process_identity import ProcessIdentity

WAITING, RUNNING, INTERRUPTED = "waiting", "running", "interrupted"
DONE, FAILED, PRUNED, NEVER = "done", "failed", "pruned", "never started"
#: A file of the run is damaged, so that its end is not known; it is run again when the sweep is resumed.
UNREADABLE = "unreadable"
#: States in which nothing more happens unless the sweep is resumed.
FINAL = (DONE, FAILED, PRUNED, NEVER)
_KNOWN = (WAITING, RUNNING, INTERRUPTED, UNREADABLE, *FINAL)
#: Seconds by which the clock may have been set since an earlier version wrote down when a process was created.
_CLOCK_STEP = 60.0


class Pruned(BaseException):
    """A search gave a run up; not an `Exception`, so that no library swallows it.

    Args:
        reason: in words.
        objective: the last that was known of it.
    """

    def __init__(self, reason: str, objective: float | None) -> None:
        super().__init__(reason)
        self.objective = objective


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run's state.

    Attributes:
        state: one of the names above.
        reason: why it failed, was pruned or stopped.
        objective: what a run that is done returned.
        seconds: worked so far, without the current attempt.
        since: when the current attempt began, in seconds since 1970; None where none goes on.
        preempted, timed_out, restarted: how often it was stopped for other jobs, by its time limit, or was
            begun again after an end of which it knew nothing.
        warned: whether the last stop was announced, and so counted.
        host, process, started, machine: of the current attempt's first process, see `ProcessIdentity`.
        born: when that was created, by the clock; written by earlier versions, in place of the last two.
    """

    state: str = WAITING
    reason: str | None = None
    objective: float | None = None
    seconds: float = 0.0
    since: float | None = None
    preempted: int = 0
    timed_out: int = 0
    restarted: int = 0
    warned: bool = False
    host: str | None = None
    process: int | None = None
    started: float | None = None
    machine: str | None = None
    born: float | None = None

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in FINAL

    @property
    def gone(self) -> bool:
        """Whether the process that is said to work is known to be no more; only its own machine knows."""
        if self.state != RUNNING or self.host is None or self.process is None:
            return False
        if self.started is None or self.machine is None:
            return self.host == socket.gethostname() and not _alive_by_clock(
                self.process, self.born
            )
        identity = ProcessIdentity(
            host=self.host, process=self.process, started=self.started, machine=self.machine
        )
        return identity.alive() is False

    def begun(self, *, requeued: bool = False) -> RunState:
        """The state when this process takes the run up.

        Args:
            requeued: whether SLURM began the job again, rather than a user.
        """
        # A cluster may preempt without the warning that would have been counted.
        ended = requeued and self.state == INTERRUPTED and not self.warned
        return replace(
            self,
            state=RUNNING,
            reason=None,
            warned=False,
            preempted=self.preempted + int(ended),
            restarted=self.restarted + int(self.state == RUNNING),
            since=time.time(),
            born=None,
            **ProcessIdentity.own().to_json(),
        )

    def ended(
        self, state: str, reason: str | None = None, objective: float | None = None
    ) -> RunState:
        """The state when an attempt is over."""
        # The clock may have been set back since.
        worked = max(time.time() - self.since, 0.0) if self.since is not None else 0.0
        return replace(
            self,
            state=state,
            reason=reason,
            objective=objective,
            seconds=round(self.seconds + worked, 3),
            since=None,
            host=None,
            process=None,
            started=None,
            machine=None,
            born=None,
        )

    def stopped(self, reason: str, *, warned: bool, timed_out: bool) -> RunState:
        """The state when the run was asked to stop and did; one that has failed before stays so."""
        if self.state == FAILED:
            return self
        return replace(
            self.ended(INTERRUPTED, reason),
            warned=warned,
            preempted=self.preempted + int(warned and not timed_out),
            timed_out=self.timed_out + int(warned and timed_out),
        )

    def failed(self, reason: str) -> RunState:
        """The state when the run has failed; the first reason counts, others are its consequences."""
        return self if self.state == FAILED else self.ended(FAILED, reason)


def _alive_by_clock(process: int, born: float | None) -> bool:
    """Whether a process works whose start was written down by the clock, which may have been set since."""
    try:
        found = psutil.Process(process)
        return (
            abs(found.create_time() - (born or 0)) < _CLOCK_STEP
            and found.status() != psutil.STATUS_ZOMBIE
        )
    except (psutil.Error, ValueError):
        return False


def read_state(folder: Path) -> RunState:
    """The state of the run in a folder; waiting where nothing is said yet, unreadable where it is damaged."""
    try:
        values = read_sealed(folder / "state.json", [one.name for one in fields(RunState)])
    except FileNotFoundError:
        return RunState()
    except DamagedFileError as error:
        return RunState(state=UNREADABLE, reason=str(error))
    state = RunState(**values)
    if state.state not in _KNOWN or not isinstance(state.seconds, int | float):
        return RunState(state=UNREADABLE, reason="state.json is damaged: it holds no state")
    return state


def change_state(folder: Path, change: Callable[[RunState], RunState]) -> RunState:
    """Read, change and write the state of a run; returns the new one."""
    new = change(read_state(folder))
    write_sealed(folder / "state.json", asdict(new))
    return new


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON with its own hash to a file; secrets are masked first, so that the hash is of the masked text."""
    write_atomic(path, sealed(masked(dict(values))), verbatim=True)


def write_atomic(path: Path, text: str, *, verbatim: bool = False) -> None:
    """Write a file whole, also where processes on several machines write the same one at a time.

    Args:
        path: of the file.
        text: what is in it; secrets are masked.
        verbatim: for settings, which are read back; those of a sweep hold no secret.
    """
    mine = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    mine.write_text(text if verbatim else without_secrets(text), encoding="utf-8", newline="")
    os.replace(mine, path)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, with the next where it only introduces that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    if isinstance(error, SystemExit):
        return told or "ended early"
    if told:
        return f"{type(error).__name__}: {told}"
    at = traceback.extract_tb(error.__traceback__)[-1:]
    return type(error).__name__ + "".join(f" at {one.filename}:{one.lineno}" for one in at)
