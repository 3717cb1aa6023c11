"""Watches a running sweep: updates its table, and after Ctrl-C asks whether to stop the runs."""

from __future__ import annotations

import re
import shlex
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.live import Live

from dramaeval.config.config_folder import command_name
from dramaeval.config.literal import as_override
from dramaeval.distributed.folder_lock import locked
from dramaeval.distributed.signals import ended_by_term
from dramaeval.launch.sweeps.folder import CHOOSE, SweepFolder, SweepRun
from dramaeval.launch.sweeps.result_rows import Table
from dramaeval.launch.sweeps.table import for_terminal, settings, write_tables
from dramaeval.stages.storage_errors import storage_problem

#: The share of a core's time for rewriting an unchanged table; writing the table of a hundred runs takes 0.2 s.
TABLE_CORE_SHARE = 0.02
#: The longest time between two updates of the table, in seconds.
TABLE_SECONDS = 10.0


class JobRunner(ABC):
    """Starts and watches the runs of a sweep.

    Attributes:
        detachable: whether the runs continue after the end of this process.
        poll_seconds: seconds between two calls of `poll`.
    """

    detachable = False
    poll_seconds = 1.0

    @abstractmethod
    def submit(self, runs: Sequence[SweepRun]) -> None:
        """Start or queue the runs."""

    @abstractmethod
    def poll(self) -> Mapping[int, str]:
        """Start queued runs, and record the end of runs that could not record it themselves.

        Returns:
            SLURM's states of the jobs that have not ended, by the number of the run; empty without SLURM.
        """

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether all runs have ended."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all runs, so that they can be resumed later."""


class DetachedSweep(BaseException):
    """Ends the command because the runs continue without it or were stopped.

    Args:
        message: the text for the user.
        code: the exit code of the command.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


def command(sweep: SweepFolder, words: str) -> str:
    """The shell command with the given words for an existing sweep."""
    word = str(sweep.path)
    if not re.fullmatch(r"[\w./-]+", word, re.ASCII):
        word = as_override(word)
    return f"{command_name()} {words} {shlex.quote(f'sweep={word}')}"


def watch(
    job_runner: JobRunner, sweep: SweepFolder, runs: Sequence[SweepRun], *, detach: bool = False
) -> None:
    """Start runs and watch them until they end.

    Args:
        job_runner: starts the runs.
        sweep: the folder to which the table is written.
        detach: raise `DetachedSweep` after the runs are submitted.

    Raises:
        DetachedSweep: the runs continue without this process, or the user has stopped them.
        FolderInUseError: another process watches the sweep.
    """
    with ended_by_term(), locked(sweep.path, CHOOSE), _Screen() as screen:
        try:
            job_runner.submit(runs)
            write_tables(sweep.path)
            if detach:
                raise DetachedSweep(
                    f"{len(runs)} runs are submitted. Show their states: "
                    f"{command(sweep, 'stages=[report]')}"
                )
            while True:
                try:
                    queue_states = job_runner.poll()
                    finished = job_runner.finished
                    screen.update(sweep, queue_states, running=not finished)
                    if finished:
                        return
                    time.sleep(job_runner.poll_seconds)
                except KeyboardInterrupt:
                    _after_interrupt(job_runner, sweep, screen)
        except SystemExit:
            if not job_runner.detachable:
                _stop(job_runner, sweep)
            raise


def _after_interrupt(job_runner: JobRunner, sweep: SweepFolder, screen: _Screen) -> None:
    """Ask whether to stop the runs, and stop them if the answer is yes.

    Raises:
        DetachedSweep: the runs are stopped, or continue without this process.
    """
    answer = screen.ask(job_runner.detachable)
    if answer == "leave":
        raise DetachedSweep(
            f"The runs continue. Show their states: {command(sweep, 'stages=[report]')}", 130
        )
    if answer == "stop":
        print("Stopping the runs …")
        _stop(job_runner, sweep)
        raise DetachedSweep(
            f"The runs were stopped. To resume them: {command(sweep, 'resume=true')}", 130
        )


def _stop(job_runner: JobRunner, sweep: SweepFolder) -> None:
    job_runner.stop()
    job_runner.poll()
    write_tables(sweep.path, running=False)


class _Screen:
    """Shows a live table on a terminal; without a terminal, prints a line for each change of a run's state."""

    def __init__(self) -> None:
        self.console = Console()
        terminal = self.console.is_terminal
        self.live = Live(console=self.console, auto_refresh=False) if terminal else None
        self._printed: dict[int, str] = {}
        self._unwritten = False
        self._queue_states: Mapping[int, str] | None = None
        self._due = 0.0

    def __enter__(self) -> _Screen:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def update(self, sweep: SweepFolder, queue_states: Mapping[int, str], *, running: bool) -> None:
        """Write and show the sweep's table after a change, at intervals and at the end.

        If the table cannot be written, this is reported once.
        """
        began = time.monotonic()
        if queue_states == self._queue_states and running and began < self._due:
            return
        self._queue_states = dict(queue_states)
        try:
            table = write_tables(sweep.path, queue_states, running=running)
        except OSError as error:
            if not self._unwritten:
                problem = storage_problem(error, sweep.path) or str(error)
                print(f"The sweep's table cannot be written: {problem}", file=sys.stderr)
            self._unwritten = True
        else:
            self._show(table)
        now = time.monotonic()
        self._due = now + min((now - began) / TABLE_CORE_SHARE, TABLE_SECONDS)

    def _show(self, table: Table) -> None:
        if self.live:
            self.live.update(for_terminal(table), refresh=True)
            return
        for row in table.rows:
            if self._printed.get(row.run.number) != row.description:
                self._printed[row.run.number] = row.description
                name = row.run.folder.name
                if table.varied:
                    name += f" {settings(row.settings(table.varied))}:"
                print(name, row.description, flush=True)

    def ask(self, detachable: bool) -> str:
        """Ask the user whether to stop, leave or watch the runs.

        Without a terminal, detachable runs are left and others are stopped.
        """
        if not sys.stdin.isatty():
            return "leave" if detachable else "stop"
        if self.live:
            self.live.stop()
        choices = "[c]ancel the jobs, [l]eave them running and go, or [Enter] to keep watching? "
        if not detachable:
            choices = "[c]ancel the runs, or [Enter] to let them continue? "
        try:
            answer = input(f"\n{choices}").strip().lower()[:1]
        except (EOFError, KeyboardInterrupt):
            answer = "l" if detachable else "c"
        if self.live:
            self.live.start()
        return {"c": "stop", "l": "leave" if detachable else "watch"}.get(answer, "watch")
