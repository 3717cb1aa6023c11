"""``hydra/launcher=local_processes``: each run of a sweep is a separate process on this machine.

A run that fails or is killed does not affect the others. Without a GPU the processes are forks of one that has imported the
libraries.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from dramaeval.config.sweep_options import LocalOptions
from dramaeval.distributed.lock_holder import holder_of
from dramaeval.distributed.spawn import ChildProcess, environment_of_children, terminate
from dramaeval.launch.forked_run import ForkedRun, can_fork, command
from dramaeval.launch.job import console_of
from dramaeval.launch.launcher import SweepLauncher
from dramaeval.launch.runner import JobRunner
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.launch.sweeps.state import change_state, read_state
from dramaeval.stages.storage_errors import storage_problem

log = logging.getLogger(__name__)

#: Seconds that a run has to save a checkpoint after a request to stop.
PATIENCE = 30.0


class LocalLauncher(SweepLauncher):
    """Starts the runs on this machine."""

    OPTIONS = LocalOptions

    def problems(self) -> list[str]:
        """The problems of the sweep's settings, including those on this machine."""
        problems = super().problems()
        if self.config.launch.detach:
            problems.append(
                "launch.detach=true needs a cluster that watches the runs: hydra/launcher=slurm or "
                "slurm_cpu. Here, start the sweep under nohup or in tmux."
            )
        return problems + gpu_problems(
            self.options.get("parallel"), self.options.get("gpus_per_run")
        )

    def job_runner(self) -> JobRunner:
        """The object that starts and watches the processes."""
        return LocalJobRunner(**self.options)

    def preview(self, runs: Sequence[SweepRun]) -> str:
        """The command of each run."""
        lines = [f"{len(runs)} runs on this machine, {self.options['parallel']} at a time:"]
        for run in runs:
            lines += [
                f"  {run.folder.name}: {shlex.join(run.overrides) or '(defaults)'}",
                f"    {shlex.join(command(run.folder))}",
            ]
        return "\n".join(lines)


class LocalJobRunner(JobRunner):
    """Starts runs as processes on this machine.

    Args:
        parallel: the number of runs at the same time.
        gpus_per_run: the number of GPUs that each run sees; None: every run sees all GPUs.
        poll_seconds: seconds between two calls of `poll`.
    """

    def __init__(self, parallel: int, gpus_per_run: int | None, poll_seconds: float) -> None:
        self.parallel, self.gpus_per_run, self.poll_seconds = parallel, gpus_per_run, poll_seconds
        self.waiting: deque[SweepRun] = deque()
        self.working: dict[int, tuple[SweepRun, ChildProcess]] = {}
        self.forks = can_fork()

    def submit(self, runs: Sequence[SweepRun]) -> None:
        """Queue the runs."""
        self.waiting.extend(runs)

    @property
    def finished(self) -> bool:
        """Whether all runs have ended."""
        return not self.waiting and not self.working

    def poll(self) -> Mapping[int, str]:
        """Record the runs that have ended, and start the next ones."""
        for slot, (run, process) in list(self.working.items()):
            if (code := process.poll()) is not None:
                del self.working[slot]
                _settle(run, code)
        for slot in range(self.parallel):
            if slot not in self.working and self.waiting:
                run = self.waiting.popleft()
                self.working[slot] = (run, self._start(run, slot))
        return {}

    def stop(self) -> None:
        """Ask all runs to save a checkpoint and stop, and kill those that do not stop in time."""
        self.waiting.clear()
        terminate([process for _, process in self.working.values()], PATIENCE)

    def _start(self, run: SweepRun, slot: int) -> ChildProcess:
        console = console_of(run.folder)
        console.parent.mkdir(parents=True, exist_ok=True)
        if self.forks:
            try:
                return ForkedRun(run.folder, console, self._environment(slot))
            except OSError as error:  # for example, a socket's path in a long TMPDIR
                log.warning("Each run imports the libraries itself: no fork server (%s).", error)
                self.forks = False
        with console.open("ab") as output:
            return subprocess.Popen(
                command(run.folder),
                env=self._environment(slot),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C must reach this process only, which asks the user.
                start_new_session=True,
            )

    def _environment(self, slot: int) -> dict[str, str]:
        environment = environment_of_children(self.parallel)
        if self.gpus_per_run:
            first, end = slot * self.gpus_per_run, (slot + 1) * self.gpus_per_run
            names = visible_gpus()
            names = list(map(str, range(end))) if names is None else names
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(names[first:end])
        return environment


def visible_gpus() -> list[str] | None:
    """The GPUs that CUDA_VISIBLE_DEVICES names; None if it is not set. CUDA ignores those after a negative number."""
    value = os.environ.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return None
    names = (name.strip() for name in value.split(","))
    return list(takewhile(lambda name: name and not name.startswith("-"), names))


def gpu_problems(parallel: Any, gpus_per_run: Any, device_dev: Path = Path("/dev")) -> list[str]:
    """The problem of runs for which there is no GPU, and which would train on the CPU.

    The GPUs are those that CUDA_VISIBLE_DEVICES names; without the variable, NVIDIA's device files are counted, since
    asking PyTorch would import it. Without such files the number is unknown.
    """
    names = visible_gpus()
    count = len(list(device_dev.glob("nvidia[0-9]*"))) if names is None else len(names)
    is_known = names is not None or count > 0
    if not is_known or not (isinstance(parallel, int) and isinstance(gpus_per_run, int)):
        return []
    if parallel * gpus_per_run <= count:
        return []
    where = (
        device_dev
        if names is None
        else f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']}"
    )
    more = "" if names is None else ", or make more GPUs visible"
    runs = count // max(gpus_per_run, 1)
    fix = f"set hydra.launcher.parallel={runs}" if runs else "leave hydra.launcher.gpus_per_run out"
    return [
        f"hydra.launcher.parallel={parallel} with gpus_per_run={gpus_per_run} needs {parallel * gpus_per_run} GPUs, and "
        f"{where} has {count}: {fix}{more}."
    ]


def _settle(run: SweepRun, code: int) -> None:
    """Record the end of a run that could not record it itself."""
    state = read_state(run.folder)
    if state.final or (state.state == "interrupted" and code) or holder_of(run.folder):
        return  # the run, or the process that has locked its folder, records the end
    if code < 0:
        reason = f"killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            reason += ", from outside, often because memory ran out: see plan=true"
    else:
        reason = f"ended with code {code} before it began; see {console_of(run.folder)}"
    try:
        change_state(run.folder, lambda state: state.failed(reason))
    except OSError as error:
        # The state file of this run cannot be written; the other runs continue.
        problem = storage_problem(error, run.folder) or str(error)
        print(f"{run.folder.name}: {reason}. {problem}", file=sys.stderr)
