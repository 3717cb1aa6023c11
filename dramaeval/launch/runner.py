"""Watching a sweep: the table is brought up to date while it goes on, and Ctrl-C asks what to do."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.live import Live

from dramaeval.config.config_folder import command_name
from dramaeval.distributed.folder_lock import locked
from dramaeval.launch.sweeps.folder import CHOOSE, SweepFolder, SweepRun
from dramaeval.launch.sweeps.rows import Row, Table
from dramaeval.launch.sweeps.table import for_terminal, write_tables
from dramaeval.stages.storage_errors import storage_problem

#: The share of a core that the table may take from the runs, where nothing is told anew: that of a hundred runs
#: takes 0.2 s to write.
MOST_OF_A_CORE = 0.02
#: It is never older than this.
MOST_SECONDS = 10.0


class JobRunner(ABC):
    """Who carries runs out.

    Attributes:
        stays: whether the runs go on when the process that started them is gone.
        poll_seconds: between two looks.
    """

    detachable = False
    poll_seconds = 1.0

    @abstractmethod
    def submit(self, runs: Sequence[SweepRun]) -> None:
        """Take runs on."""

    @abstractmethod
    def poll(self) -> Mapping[int, str]:
        """See to the runs and settle those that ended without a word; what is to be told of others."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether nothing more happens by itself."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all runs; they can be resumed later."""


class DetachedSweep(BaseException):
    """The runs go on without us."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


def command(sweep: SweepFolder, what: str) -> str:
    """The command that does something with a sweep that is there, ready for a shell."""
    word = str(sweep.path)
    if not word.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        word = "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"{command_name()} {what} {shlex.quote(f'sweep={word}')}"


def watch(
    job_runner: JobRunner, sweep: SweepFolder, runs: Sequence[SweepRun], *, detach: bool = False
) -> None:
    """Have runs carried out and watch them to their end.

    Args:
        crew: who does it.
        sweep: where the table goes.
        runs: of this sweep.
        detach: come back as soon as they are on their way.

    Raises:
        Left: the runs go on, as asked for.
        FolderInUseError: another process sees to the sweep's runs.
    """
    with _ended_by_term(), locked(sweep.path, CHOOSE), _Screen() as screen:
        try:
            job_runner.submit(runs)
            write_tables(sweep.path)
            if detach:
                raise DetachedSweep(
                    f"{len(runs)} runs are on their way. See how they are: "
                    f"{command(sweep, 'stages=[report]')}"
                )
            shown: Mapping[int, str] | None = None
            due = 0.0
            while True:
                try:
                    queue_states = job_runner.poll()
                    began = time.monotonic()
                    if queue_states != shown or job_runner.finished or began >= due:
                        screen.update(sweep, queue_states, running=not job_runner.finished)
                        shown = dict(queue_states)
                        took = time.monotonic() - began
                        due = time.monotonic() + min(took / MOST_OF_A_CORE, MOST_SECONDS)
                    if job_runner.finished:
                        return
                    time.sleep(job_runner.poll_seconds)
                except KeyboardInterrupt:
                    _asked(job_runner, sweep, screen)
        except SystemExit:
            if not job_runner.detachable:
                job_runner.stop()
                job_runner.poll()
                write_tables(sweep.path, running=False)
            raise


def _asked(job_runner: JobRunner, sweep: SweepFolder, screen: _Screen) -> None:
    """Ctrl-C: what is to become of the runs?"""
    what = screen.ask(job_runner.detachable)
    if what == "leave":
        raise DetachedSweep(
            f"The runs go on. See how they are: {command(sweep, 'stages=[report]')}", 130
        )
    if what == "stop":
        print("Stopping the runs …")
        job_runner.stop()
        job_runner.poll()
        write_tables(sweep.path, running=False)
        raise DetachedSweep(
            f"The runs were stopped. To go on with them: {command(sweep, 'resume=true')}", 130
        )


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """A request to terminate ends the block in order."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Screen:
    """A live table on a terminal; elsewhere a line whenever a run's state changes."""

    def __init__(self) -> None:
        self.console = Console()
        self.live = Live(console=self.console, auto_refresh=False) if self.terminal else None
        self._printed: dict[int, str] = {}
        self._unwritten = False

    @property
    def terminal(self) -> bool:
        return self.console.is_terminal

    def __enter__(self) -> _Screen:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def update(self, sweep: SweepFolder, queue_states: Mapping[int, str], *, running: bool) -> None:
        """Write the sweep's table and show it; on a full disk say so once, and let the runs go on."""
        try:
            table = write_tables(sweep.path, queue_states, running=running)
        except OSError as error:
            if not self._unwritten:
                problem = storage_problem(error, sweep.path) or str(error)
                print(f"The sweep's table cannot be written: {problem}", file=sys.stderr)
            self._unwritten = True
            return
        self.show(table)

    def show(self, table: Table) -> None:
        """The table as it stands."""
        if self.live:
            self.live.update(for_terminal(table), refresh=True)
            return
        for row in table.rows:
            if self._printed.get(row.run.number) != row.description:
                self._printed[row.run.number] = row.description
                print(f"{row.run.folder.name} {_short(row, table)}{row.description}", flush=True)

    def ask(self, stays: bool) -> str:
        """What to do after Ctrl-C: stop, leave or watch. Without somebody to ask, what loses least."""
        if not sys.stdin.isatty():
            return "leave" if stays else "stop"
        if self.live:
            self.live.stop()
        choices = "[c]ancel the jobs, [l]eave them running and go, or [Enter] to watch on? "
        if not stays:
            choices = "[c]ancel the runs, or [Enter] to let them go on? "
        try:
            answer = input(f"\n{choices}").strip().lower()[:1]
        except (EOFError, KeyboardInterrupt):
            answer = "l" if stays else "c"
        if self.live:
            self.live.start()
        return {"c": "stop", "l": "leave" if stays else "watch"}.get(answer, "watch")


def _short(row: Row, table: Table) -> str:
    told = " ".join(f"{key}={row.run.settings.get(key, '')}" for key in table.varied)
    return f"{told}: " if told else ""
