"""Starts the processes of a run on this machine, and ends them together.

Each worker is a separate Python process that receives the composed configuration. When a worker fails, the other
workers are stopped, since they would wait for it forever. When this process is stopped or killed, all are stopped.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from omegaconf import DictConfig

from dramaeval import startup
from dramaeval.config.literal import resolve
from dramaeval.distributed.folder_lock import token_of
from dramaeval.distributed.signals import ended_by_term
from dramaeval.errors import STORAGE, UserFacingError

log = logging.getLogger(__name__)

#: Seconds that the other workers have to end after a failure; often they fail too and print the reason.
GRACE = 5.0
#: Seconds between SIGTERM and a kill.
PATIENCE = 10.0
_TAIL = 15


class WorkerError(UserFacingError, RuntimeError):
    """A process of the run failed; the message names it, its log and the last lines of the log."""


class ChildProcess(Protocol):
    """A process that this one has started; `subprocess.Popen` is one."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, after the process has ended.

        Raises:
            subprocess.TimeoutExpired: the process still runs after ``timeout`` seconds.
        """

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


def run_processes(config: DictConfig, folder: Path, count: int) -> Any:
    """Run a configuration in ``count`` processes on this machine.

    Args:
        config: a composed configuration; its interpolations are resolved here.
        folder: the run folder; process 0 prints to this terminal, process n to ``logs/rank-<n>.log``.

    Returns:
        the objective that the run returns.

    Raises:
        SystemExit: process 0 failed and has printed the reason.
        WorkerError: another process failed.
    """
    config = resolve(config)
    with tempfile.TemporaryDirectory(prefix="dramaeval-") as private:
        inputs, result = Path(private) / "run", Path(private) / "result"
        inputs.write_bytes(pickle.dumps((config, folder, token_of(folder))))
        shared = environment(count)  # called once, since each call chooses another port
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "dramaeval.launch.worker", str(inputs), str(result)],
                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                # Ctrl-C reaches this process only, which then stops all workers.
                start_new_session=True,
            )
            for rank in range(count)
        ]
        with ended_by_term():
            try:
                failed = _watch(workers)
            finally:
                terminate(workers, PATIENCE)
        if failed:
            _explain(failed, workers, folder)
        return pickle.loads(result.read_bytes()) if result.is_file() else None


def available_cores() -> int:
    """The processor cores that this process may use."""
    # Only Linux restricts them; elsewhere a process may use all cores.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment_of_children(count: int) -> dict[str, str]:
    """The variables of ``count`` processes on this machine: each gets an equal share of the cores."""
    # A child can import modules from the folder of launch.py too.
    path = [sys.path[0], os.environ.get("PYTHONPATH", "")]
    return {
        "OMP_NUM_THREADS": str(max(1, available_cores() // count)),
        **startup.for_children(),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }


def environment(count: int) -> dict[str, str]:
    """The variables of all workers, with those of PyTorch's rendezvous."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        **environment_of_children(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }


def _watch(workers: list[subprocess.Popen[bytes]]) -> list[tuple[int, int]]:
    """Wait for the workers to end; returns the ranks and exit codes of failed workers, the earliest first."""
    failed: dict[int, int] = {}
    deadline = None
    while True:
        running = any(worker.poll() is None for worker in workers)
        for rank, worker in enumerate(workers):
            if worker.poll() not in (None, 0):
                failed.setdefault(rank, worker.returncode)
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE
        if not running or (deadline is not None and time.monotonic() > deadline):
            return list(failed.items())
        time.sleep(0.1)


def terminate(processes: Sequence[ChildProcess], patience: float) -> None:
    """Send SIGTERM to processes, and kill those that still run after ``patience`` seconds."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + patience
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _explain(
    failed: list[tuple[int, int]], workers: list[subprocess.Popen[bytes]], folder: Path
) -> None:
    # If a process was killed or could not write, the others fail because they lose a peer.
    rank, code = min(failed, key=lambda pair: (pair[1] >= 0, pair[1] != STORAGE))
    code_of_zero = dict(failed).get(0, 0)
    if code > 0 and code_of_zero > 0 and not (code == STORAGE and code_of_zero != STORAGE):
        raise SystemExit(code_of_zero)  # process 0 has printed the reason
    ending = (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    )
    message = f"Process {rank} of {len(workers)} {ending}; the others were stopped."
    file = worker_log(folder, rank)
    if rank and file.is_file():
        last = file.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        message += f" The end of its log, {file}:\n" + "\n".join(f"  {line}" for line in last)
    if code == -signal.SIGKILL:
        message += " Killed from outside, often because memory ran out: see plan=true."
    raise WorkerError(message)


def worker_log(folder: Path, rank: int) -> Path:
    """The log of a process other than rank 0."""
    return folder / "logs" / f"rank-{rank}.log"
