"""The state of a run of a sweep, in ``state.json`` in the run folder.

The run writes its state at its start and at its end. If the run was killed, the process that watches the sweep writes
its state.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dramaeval.config.secrets import masked
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.manifest import DamagedFileError, read_sealed, sealed
from dramaeval.distributed.lock_holder import ProcessIdentity

WAITING, RUNNING, INTERRUPTED = "waiting", "running", "interrupted"
DONE, FAILED, PRUNED, NEVER = "done", "failed", "pruned", "never started"
#: A file of the run is damaged, so its result is unknown; the run is repeated when the sweep is resumed.
UNREADABLE = "unreadable"
#: States that change only if the sweep is resumed.
FINAL = (DONE, FAILED, PRUNED, NEVER)
#: The values of the fields of `RunState` that describe the current attempt, if no attempt is running.
_NO_ATTEMPT: dict[str, Any] = dict.fromkeys(
    ("since", "host", "process", "started", "machine", "born")
)
_STATES = (WAITING, RUNNING, INTERRUPTED, UNREADABLE, *FINAL)


class Pruned(BaseException):
    """A search has pruned the run. Not an `Exception`, so that no library's clean-up code catches it.

    Args:
        reason: the text for the sweep's table.
        objective: the last value that was reported to the search.
    """

    def __init__(self, reason: str, objective: float | None) -> None:
        super().__init__(reason)
        self.objective = objective


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The state of a run.

    Attributes:
        state: one of this module's constants.
        reason: why the run failed, was pruned or stopped.
        objective: the objective of a run that is done; the last value of a run that was pruned.
        seconds: the working time of the attempts that have ended.
        since: the start of the current attempt, in seconds since 1970; None if no attempt is running.
        preempted, timed_out: how often SLURM stopped the run for other jobs, and at its time limit.
        restarted: how often the run was started after an attempt that could not record its end.
        warned: whether SLURM warned the run before its last stop; that stop is already counted.
        host, process, started, machine: the `ProcessIdentity` of the current attempt's first process.
        born: always None; earlier versions wrote the creation time of the process.
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
        """Whether the state changes only if the sweep is resumed."""
        return self.state in FINAL

    def begun(self, *, requeued: bool = False) -> RunState:
        """The state when this process starts an attempt.

        Args:
            requeued: whether SLURM, and not a user, has restarted the run.
        """
        # Some clusters preempt a job without a warning; such a stop is not counted yet.
        preempted = requeued and self.state == INTERRUPTED and not self.warned
        return replace(
            self,
            state=RUNNING,
            reason=None,
            warned=False,
            preempted=self.preempted + int(preempted),
            restarted=self.restarted + int(self.state == RUNNING),
            since=time.time(),
            born=None,
            **asdict(ProcessIdentity.own()),
        )

    def ended(
        self, state: str, reason: str | None = None, objective: float | None = None
    ) -> RunState:
        """The state at the end of an attempt."""
        # The clock may have been set back during the attempt.
        worked = max(time.time() - self.since, 0.0) if self.since is not None else 0.0
        return replace(
            self,
            state=state,
            reason=reason,
            objective=objective,
            seconds=round(self.seconds + worked, 3),
            **_NO_ATTEMPT,
        )

    def stopped(self, reason: str, *, warned: bool, timed_out: bool) -> RunState:
        """The state after the run has stopped on request; a failed run stays failed."""
        if self.state == FAILED:
            return self
        return replace(
            self.ended(INTERRUPTED, reason),
            warned=warned,
            preempted=self.preempted + int(warned and not timed_out),
            timed_out=self.timed_out + int(warned and timed_out),
        )

    def failed(self, reason: str) -> RunState:
        """The state after a failure; the first reason is kept, since it is usually the cause of later failures."""
        return self if self.state == FAILED else self.ended(FAILED, reason)


def read_state(folder: Path) -> RunState:
    """The state of the run in a folder: ``waiting`` without a file, ``unreadable`` if the file is damaged."""
    names = [field.name for field in fields(RunState)]
    try:
        values = read_sealed(folder / "state.json", names)
    except FileNotFoundError:
        return RunState()
    except DamagedFileError as error:
        return RunState(state=UNREADABLE, reason=str(error))
    state = RunState(**values)
    if state.state not in _STATES or not isinstance(state.seconds, int | float):
        return RunState(state=UNREADABLE, reason="state.json is damaged: it holds no state")
    return state


def change_state(folder: Path, change: Callable[[RunState], RunState]) -> RunState:
    """Read, change and write the state of a run; returns the new state."""
    new = change(read_state(folder))
    write_sealed(folder / "state.json", asdict(new))
    return new


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write values and their hash to a JSON file; secrets are masked before the hash is computed."""
    write_text_atomic(path, sealed(masked(dict(values))), verbatim=True)


def error_summary(error: BaseException) -> str:
    """The class and the first line of an error, with the second line if the first line ends with a colon.

    For an error without a message, the file and line that raised it.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = " ".join(lines[:2] if lines and lines[0].endswith(":") else lines[:1])
    if isinstance(error, SystemExit):
        return message or "ended early"
    if message:
        return f"{type(error).__name__}: {message}"
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return type(error).__name__ + "".join(
        f" at {frame.filename}:{frame.lineno}" for frame in frames
    )
