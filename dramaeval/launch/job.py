"""Executes one run of a sweep in a process that a launcher has started.

The local launcher starts ``python -m dramaeval.launch.job FOLDER``, or calls `main` in a forked process; submitit
calls `SlurmRun` in every task of a SLURM job. All read the configuration from the run's folder, and update its
``state.json`` and the sweep's table.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dramaeval import startup
from dramaeval.distributed.folder_lock import locked
from dramaeval.distributed.signals import SOON, STOP_REQUESTS, Interrupted, ignore_stop_signals
from dramaeval.launch.sweeps.state import (
    DONE,
    PRUNED,
    Pruned,
    RunState,
    change_state,
    error_summary,
)
from dramaeval.stages.storage_errors import storage_problem
from dramaeval.stages.user_errors import user_facing_errors
from dramaeval.startup import accept_any_text, ensure_home

log = logging.getLogger(__name__)


class SlurmRun:
    """Executes a run's part in one task of a SLURM job.

    submitit pickles this object when the job is submitted and requeued, so it holds plain values only.

    Args:
        path: folders to add to the module search path.
    """

    def __init__(self, folder: str, path: list[str]) -> None:
        self.folder = folder
        self.path = path

    def __call__(self) -> float | None:
        """Run the stages; a failure is recorded in ``state.json`` and in the exit code."""
        sys.path[:0] = [path for path in self.path if path not in sys.path]
        ensure_home()  # the node's home folder may differ from that of the machine that submitted the job
        submitit_handler = signal.getsignal(SOON)
        STOP_REQUESTS.listen()
        folder = Path(self.folder)
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        if rank:
            with recorded_on_worker(folder, rank):
                return _run_stages(folder, by_slurm=True)
        submitit_job = getattr(submitit_handler, "__self__", None)
        timed_out = getattr(submitit_job, "has_timed_out", lambda: False)

        def requeue() -> None:
            # The handler counts time-outs, pickles this object again and asks SLURM to requeue the job.
            if callable(submitit_handler):
                submitit_handler(SOON, None)

        with (
            user_facing_errors(),
            locked(folder),
            recorded(folder, requeue=requeue, timed_out=timed_out) as record_objective,
        ):
            objective = _run_stages(folder, by_slurm=True)
            record_objective(objective)
        return objective

    def checkpoint(self) -> Any:
        """The submission with which submitit requeues the job; it holds this object."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def main(folder: str) -> None:
    """Execute the run in a folder, in this process."""
    from dramaeval.launch.worker import end_with_parent

    accept_any_text()
    ensure_home()
    end_with_parent()
    STOP_REQUESTS.listen()
    path = Path(folder)
    with user_facing_errors(), locked(path), recorded(path) as record_objective:
        record_objective(_run_stages(path, by_slurm=False))


def needs_new_process(folder: Path) -> bool:
    """Whether a run cannot use the libraries of a process that has imported them for all runs of its sweep.

    Libraries read variables of ``hydra.job.env_set`` when they are imported.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf.errors import OmegaConfBaseException

    from dramaeval.compat.bitsandbytes import may_compute
    from dramaeval.launch.sweeps.folder import load_config

    try:
        return may_compute(load_config(folder)) or bool(HydraConfig.get().job.env_set)
    except (OSError, ValueError, OmegaConfBaseException):  # the run itself reports the damage
        return True


def _run_stages(folder: Path, *, by_slurm: bool) -> float | None:
    """Run the stages in this process, or in processes that it starts; SLURM starts the processes of a run itself."""
    from hydra.core.hydra_config import HydraConfig

    from dramaeval.launch.sweeps.folder import load_config

    config = load_config(folder)
    if by_slurm:
        from dramaeval.distributed.slurm_rendezvous import join_by_slurm

        join_by_slurm(config)
    os.environ.update({name: str(value) for name, value in HydraConfig.get().job.env_set.items()})

    with user_facing_errors(folder):
        startup.prepare()
        with startup.without_collections():
            from dramaeval.compat.bitsandbytes import import_without_compiler

            import_without_compiler(config)
            from dramaeval.config import secrets
            from dramaeval.launch.sweeps.pruning import pruning
            from dramaeval.stages.pipeline import run_in_folder

        secrets.guard(config)
        return run_in_folder(config, folder, pruning, starts_processes=not by_slurm)


@contextlib.contextmanager
def recorded(
    folder: Path,
    requeue: Callable[[], None] | None = None,
    timed_out: Callable[[], bool] = lambda: False,
) -> Iterator[Callable[[float | None], None]]:
    """Record the state of a run at the start and at the end of the block.

    Args:
        requeue: a function that requeues the job; None without a queue.
        timed_out: a function that returns whether the time limit is the reason for SLURM's warning.

    Yields:
        a function that records the objective.

    Raises:
        SystemExit: the run failed or was stopped; the state gives the reason.
    """
    requeued = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
    objectives: list[float | None] = []
    try:
        _change(folder, lambda state: state.begun(requeued=requeued))
        yield objectives.append
    except Interrupted as stop:
        _stop(folder, str(stop), requeue, timed_out)
        raise SystemExit(128 + signal.SIGTERM) from None
    except Pruned as pruned:
        ignore_stop_signals()
        reason, last = str(pruned), pruned.objective
        _change(folder, lambda state: state.ended(PRUNED, reason, last))
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM:
            # This process started the processes of the run, and has stopped them.
            _stop(folder, signal.SIGTERM.name, None, timed_out)
            raise
        if STOP_REQUESTS.requeue:
            # Another process of the run received the request first and ended, which caused this error.
            _stop(folder, error_summary(error), requeue, timed_out)
        _fail(folder, error)
    else:
        ignore_stop_signals()
        objective = objectives[0] if objectives else None
        _change(folder, lambda state: state.ended(DONE, objective=objective))


def _stop(
    folder: Path,
    reason: str,
    requeue: Callable[[], None] | None,
    timed_out: Callable[[], bool],
) -> None:
    """Record that the run has stopped; requeue it if SLURM has sent its warning."""
    ignore_stop_signals()
    warned = STOP_REQUESTS.requeue
    by_time = warned and timed_out()
    _change(folder, lambda state: state.stopped(reason, warned=warned, timed_out=by_time))
    if requeue is None or not warned:
        return
    try:
        requeue()  # SLURM ends the remaining processes of this job
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        _fail(folder, error)


def _fail(folder: Path, error: BaseException) -> None:
    ignore_stop_signals()
    problem = storage_problem(error, folder)
    reason = problem or error_summary(error)
    text = "".join(traceback.format_exception(error))
    if isinstance(error, SystemExit):
        text = str(error)
        if isinstance(error.code, int):  # the terminal shows the reason already
            reason, text = _last_line(folder) or reason, ""
    if text:
        log.error("%s", problem or text)
    try:
        _change(folder, lambda state: state.failed(reason))
    except OSError as unwritten:
        log.error("%s", storage_problem(unwritten, folder) or unwritten)
    raise SystemExit(1) from error


def _last_line(folder: Path) -> str:
    """The last non-empty line of the run's terminal output."""
    file = console_of(folder)
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def console_of(folder: Path) -> Path:
    """The file with the terminal output of a run that `dramaeval.launch.local` has started."""
    return folder / "logs" / "console.log"


def _change(folder: Path, change: Callable[[RunState], RunState]) -> None:
    from dramaeval.launch.sweeps.table import write_tables

    change_state(folder, change)
    try:
        write_tables(folder.parent)
    except OSError as error:
        log.warning("The sweep's table could not be written: %s", error)


@contextlib.contextmanager
def recorded_on_worker(folder: Path, rank: int) -> Iterator[None]:
    """Record a failure of a process other than rank 0, since rank 0 notices only that a process is missing.

    Raises:
        SystemExit: with code 0 after a request to stop; after any other code, SLURM would end rank 0 too.
    """
    try:
        yield
    except (Interrupted, Pruned):
        ignore_stop_signals()
        raise SystemExit(0) from None
    except BaseException as error:
        if STOP_REQUESTS.stop:
            raise SystemExit(0) from error  # rank 0 ended first, which caused this error
        reason = f"process {rank}: {error_summary(error)}"
        change_state(folder, lambda state: state.failed(reason))
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
