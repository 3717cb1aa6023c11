"""Handles the signals with which a cluster asks a run to stop.

SLURM warns a run before its time limit and before it preempts the job: with SIGUSR2 if ``signal_delay_s`` is set, with
SIGTERM otherwise. During a training the request is only recorded; the training then stops between two steps, where it
can save a checkpoint. At any other time the process stops at once; unfinished results are computed again.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

#: Not SIGUSR1, which NCCL may catch.
SOON = signal.SIGUSR2
NOW = signal.SIGTERM


class Interrupted(BaseException):
    """The run has received a request to stop. Not an `Exception`, so that no library's clean-up code catches it."""


class StopRequests:
    """The signals that this process has received since `listen`."""

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self._is_deferred = False

    @property
    def stop(self) -> bool:
        """Whether the run has to stop."""
        return bool(self.received)

    @property
    def requeue(self) -> bool:
        """Whether the job is to be requeued: SLURM has sent its warning, not only SIGTERM."""
        return SOON in self.received

    def listen(self) -> None:
        """Install the signal handlers; Python allows this in the main thread only."""
        for number in (SOON, NOW):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number))
        if not self._is_deferred:
            raise Interrupted(signal.Signals(number).name)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only record requests inside the block.

        Raises:
            Interrupted: at the end of the block, if a request was received.
        """
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False
        if self.stop:
            raise Interrupted(self.received[0].name)


#: The requests to this process; no signal is recorded before `listen` is called.
STOP_REQUESTS = StopRequests()


@contextmanager
def ended_by_term() -> Iterator[None]:
    """Turn SIGTERM into SystemExit with the code 128 + its number inside the block, so that the block can clean up."""
    previous = None
    with suppress(ValueError):  # only the main thread can install a handler
        previous = signal.signal(NOW, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        if previous is not None:
            signal.signal(NOW, previous)


def ignore_stop_signals() -> None:
    """Ignore further requests, in this process and in its child processes.

    After its warning SLURM sends SIGTERM to all processes of the job, even to the command that requeues the job.
    """
    for number in (SOON, NOW):
        signal.signal(number, signal.SIG_IGN)
