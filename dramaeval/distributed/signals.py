"""Signals by which a cluster asks a run to stop, and what a run makes of them.

SLURM tells a run some time before its limit, or when other jobs take its place: with SIGUSR2 if the run asked
for that (``signal_delay_s``), with SIGTERM otherwise. While a training goes on the request only is noted, and
heeded between two steps, where a checkpoint can be saved; at any other time the work is broken off at once,
since what is finished is in files and the rest is done again.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: SIGUSR1 may be caught by NCCL.
SOON = signal.SIGUSR2
NOW = signal.SIGTERM


class Interrupted(BaseException):
    """The run was asked to stop. Not an `Exception`: no library's clean-up code may swallow it."""


class StopRequests:
    """What this process was asked for since it began to listen."""

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self._noted_only = False

    @property
    def stop(self) -> bool:
        """Whether the run has to stop."""
        return bool(self.received)

    @property
    def requeue(self) -> bool:
        """Whether it is to go on later: it was warned, not just ended."""
        return SOON in self.received

    def listen(self) -> None:
        """Take the signals over from whoever had them; only the main thread can."""
        for one in (SOON, NOW):
            signal.signal(one, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number))
        if not self._noted_only:
            raise Interrupted(signal.Signals(number).name)

    @contextmanager
    def noted_only(self) -> Iterator[None]:
        """Let requests wait in here; one that is left at the end is heeded then."""
        self._noted_only = True
        try:
            yield
        finally:
            self._noted_only = False
        if self.stop:
            raise Interrupted(self.received[0].name)


#: Of this process; it hears nothing unless somebody calls `listen`.
STOP_REQUESTS = StopRequests()


def ignore_stop_signals() -> None:
    """Ignore further requests, here and in commands that are started from here.

    SLURM follows its warning with SIGTERM to all that runs in the job, and would so kill the very command that
    puts the job back into the queue.
    """
    for one in (SOON, NOW):
        signal.signal(one, signal.SIG_IGN)
