"""``hydra/launcher=local_processes``: the runs of a sweep on this machine, each in a process of its own.

So a run that fails, or is killed for want of memory, costs itself alone.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval import startup
from dramaeval.distributed.lock_holder import holder_of
from dramaeval.distributed.spawn import available_cores
from dramaeval.launch.job import console_of
from dramaeval.launch.launcher import SweepLauncher, import_path
from dramaeval.launch.runner import JobRunner
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.launch.sweeps.state import change_state, read_state
from dramaeval.stages.storage_errors import storage_problem

#: Seconds that a run gets to save a checkpoint when it is asked to stop.
PATIENCE = 30.0


class LocalLauncher(SweepLauncher):
    """Starts the runs here."""

    KINDS: Mapping[str, str] = {
        "parallel": "positive",
        "gpus_per_run": "positive?",
        "poll_seconds": "seconds",
    }

    def problems(self) -> list[str]:
        """What of the sweep's settings cannot be done here."""
        found = super().problems()
        if self.config.launch.detach:
            found.append(
                "launch.detach=true needs a cluster that takes care of the runs: hydra/launcher=slurm or "
                "slurm_cpu. Here, start the sweep under nohup or in tmux."
            )
        return found

    def job_runner(self) -> JobRunner:
        """Processes of this machine."""
        return LocalJobRunner(**self.options)

    def preview(self, runs: Sequence[SweepRun]) -> str:
        """The command of each run."""
        lines = [f"{len(runs)} runs on this machine, {self.options['parallel']} at a time:"]
        for run in runs:
            lines += [
                f"  {run.folder.name}: {shlex.join(run.overrides) or '(defaults)'}",
                f"    {shlex.join(command(run))}",
            ]
        return "\n".join(lines)


def command(run: SweepRun) -> list[str]:
    """What starts a run whose folder is there."""
    return [sys.executable, "-m", "dramaeval.launch.job", str(run.folder)]


class LocalJobRunner(JobRunner):
    """Processes of this machine.

    Args:
        parallel: how many at a time.
        gpus_per_run: how many GPUs each sees; None lets all see all.
        poll_seconds: between two looks.
    """

    def __init__(self, parallel: int, gpus_per_run: int | None, poll_seconds: float) -> None:
        self.parallel, self.gpus_per_run, self.poll_seconds = parallel, gpus_per_run, poll_seconds
        self.waiting: deque[SweepRun] = deque()
        self.working: dict[int, tuple[SweepRun, subprocess.Popen[bytes]]] = {}

    def submit(self, runs: Sequence[SweepRun]) -> None:
        """They wait for a free place."""
        self.waiting.extend(runs)

    @property
    def finished(self) -> bool:
        """Whether all have ended."""
        return not self.waiting and not self.working

    def poll(self) -> Mapping[int, str]:
        """Take leave of those that ended, start the next."""
        for place, (run, process) in list(self.working.items()):
            if process.poll() is not None:
                del self.working[place]
                _settle(run, process.returncode)
        for place in range(self.parallel):
            if place not in self.working and self.waiting:
                run = self.waiting.popleft()
                self.working[place] = (run, self._start(run, place))
        return {}

    def stop(self) -> None:
        """Ask all to save a checkpoint and end; after a while, end them."""
        self.waiting.clear()
        for _, process in self.working.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + PATIENCE
        for _, process in self.working.values():
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, run: SweepRun, place: int) -> subprocess.Popen[bytes]:
        console = console_of(run.folder)
        console.parent.mkdir(parents=True, exist_ok=True)
        with console.open("ab") as said:
            return subprocess.Popen(
                command(run),
                env=self._environment(place),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches this process alone, which asks what to do.
                start_new_session=True,
            )

    def _environment(self, place: int) -> dict[str, str]:
        path = [*import_path(), os.environ.get("PYTHONPATH", "")]
        given: dict[str, Any] = {"OMP_NUM_THREADS": str(max(1, available_cores() // self.parallel))}
        own = {"PYTHONPATH": os.pathsep.join(one for one in path if one)}
        if self.gpus_per_run:
            first = place * self.gpus_per_run
            mine = range(first, first + self.gpus_per_run)
            shown = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = shown.split(",") if shown else [str(number) for number in mine]
            own["CUDA_VISIBLE_DEVICES"] = ",".join(
                names[first : first + self.gpus_per_run] if shown else names
            )
        return {**given, **startup.for_children(), **own}


def _settle(run: SweepRun, code: int) -> None:
    """Write down the end of a run that could not do so itself."""
    state = read_state(run.folder)
    if state.final or (state.state == "interrupted" and code) or holder_of(run.folder):
        return  # its state was written down by itself, or by the process that has locked its folder
    if code < 0:
        reason = f"killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            reason += ", from outside, often for want of memory: see plan=true"
    else:
        reason = f"ended with code {code} before it began; see {console_of(run.folder)}"
    try:
        change_state(run.folder, lambda state: state.failed(reason))
    except OSError as error:
        # The other runs go on; the table says of this one that its process is gone.
        problem = storage_problem(error, run.folder) or str(error)
        print(f"{run.folder.name}: {reason}. {problem}", file=sys.stderr)
