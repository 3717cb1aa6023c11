"""Starts the runs of a sweep on this machine as forks of one process that has imported the libraries.

Importing them takes several seconds of every new process. The standard library's fork server imports them once; it has
no threads of a run, no files of a run and no settings of a run.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.process
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

#: The modules that the server imports: those of a training and of its evaluation.
LIBRARIES = ["dramaeval.launch.libraries_of_runs"]
#: Variables of a run that the server needs when it imports libraries; they are equal for all runs.
_OF_SERVER = ("OMP_NUM_THREADS", "PYTHONPATH")
#: Device files of GPUs: of NVIDIA, of AMD, and of the Windows Subsystem for Linux.
_GPU_FILES = ("nvidia[0-9]*", "kfd", "dxg")


def can_fork(device_dev: Path = Path("/dev")) -> bool:
    """Whether runs may be forks: on Linux without a GPU, because a fork cannot use a GPU that its parent has looked at."""
    gpus = any(True for pattern in _GPU_FILES for _ in device_dev.glob(pattern))
    return sys.platform == "linux" and not gpus


class ForkedRun:
    """A process that executes a run in a fork of the server; the first one starts the server.

    Args:
        console: the file for the output of the process.
        environment: its environment variables.
    """

    def __init__(self, folder: Path, console: Path, environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(LIBRARIES)
        # Other variables are as in this process, which has removed those that settings replace (`startup.prepare`).
        own = dict(os.environ)
        os.environ.update({name: environment[name] for name in _OF_SERVER if name in environment})
        try:
            multiprocessing.forkserver.ensure_running()
        finally:
            _set_variables(own)
        self._process = context.Process(
            target=_begin, args=(str(folder), str(console), dict(environment))
        )
        self._process.start()

    def poll(self) -> int | None:
        """As `subprocess.Popen.poll`."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """As `subprocess.Popen.wait`."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("run", timeout or 0.0)
        return code

    def terminate(self) -> None:
        """As `subprocess.Popen.terminate`."""
        self._process.terminate()

    def kill(self) -> None:
        """As `subprocess.Popen.kill`."""
        self._process.kill()


def command(folder: Path) -> list[str]:
    """The command that executes the run in a folder in a new process."""
    return [sys.executable, "-m", "dramaeval.launch.job", str(folder)]


def _set_variables(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _begin(folder: str, console: str, environment: Mapping[str, str]) -> None:
    """Execute the run, in the forked process."""
    os.setsid()  # Ctrl-C must reach the launcher only, which asks the user
    with open(console, "ab") as output, open(os.devnull, "rb") as nothing:
        for number, stream in ((0, nothing), (1, output), (2, output)):
            os.dup2(stream.fileno(), number)
    _set_variables(environment)
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [each for each in path if each and each not in sys.path]
    sys.argv = command(Path(folder))[2:]
    from dramaeval import startup
    from dramaeval.launch import job

    startup.silence()
    if job.needs_new_process(Path(folder)):
        os.execve(sys.executable, command(Path(folder)), dict(environment))
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    job.main(folder)


def _end_with_launcher() -> None:
    """Stop this process when the launcher ends: its parent is the server, which lives on until the last run has ended."""
    launcher = multiprocessing.process.parent_process()
    if launcher is not None:
        launcher.join()
        os.kill(os.getpid(), signal.SIGTERM)
