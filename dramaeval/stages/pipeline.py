"""How a run begins: in this process or in several, and what has to be true before its work starts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dramaeval import startup
from dramaeval.config import secrets
from dramaeval.config.literal import folder_problem
from dramaeval.config.problems import ConfigError
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import Stage
from dramaeval.distributed.folder_lock import locked, locked_together
from dramaeval.distributed.processes import Processes, process_group, started_by_launcher
from dramaeval.distributed.spawn import run_processes, worker_log
from dramaeval.stages import run_log
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.memory_check import shortages
from dramaeval.stages.run_folder import RunFolder

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float | None:
    """Carry out a composed run inside Hydra's output folder.

    Returns:
        the sweep objective: macro Pearson on val if there is a val split, else on test; None without
        evaluation.

    Raises:
        ConfigError, BadRecordsError, ModelError: in words for the user, before any weights load.
        FolderInUseError: another process works in the folder.
    """
    path = _output_folder()
    with locked(path):
        return _in_locked_folder(config, path)


def _in_locked_folder(config: DictConfig, path: Path) -> float | None:
    secrets.guard(config, HydraConfig.get())
    together = config.processes > 1 or (config.zero is not None and Stage.train in config.stages)
    if together and not config.plan and not started_by_launcher():
        check(config)
        return run_processes(config, path, config.processes)
    if started_by_launcher() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise ConfigError(
            [
                "A sweep starts its processes itself: python launch.py -m processes=N …, without torchrun."
            ]
        )
    with process_group() as processes:
        return run_stages(config, path, processes)


def _output_folder() -> Path:
    """Hydra's output folder, absolute.

    Raises:
        ConfigError: Hydra interpolates its name.
    """
    raw: Any = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)
    if problem := folder_problem(raw["output_dir"], "hydra.run.dir:"):
        raise ConfigError([problem])
    return Path(raw["output_dir"])


def run_stages(config: DictConfig | None, path: Path | None, processes: Processes) -> float | None:
    """Carry a run out as one of its processes.

    Args:
        config: composed; that of process 0 counts, the others may pass None.
        path: the run folder; likewise.
        processes: all that take part.

    Returns:
        the objective, at every process.

    Raises:
        ConfigError, BadRecordsError, ModelError, FolderInUseError: as `run`.
    """
    shared, path = processes.broadcast((config, path))
    if shared is None or path is None:
        raise ValueError("The first process must bring a configuration and a folder.")
    with locked_together(path, processes):
        return _work(shared, path, processes)


def _work(shared: DictConfig, path: Path, processes: Processes) -> float | None:
    folder = RunFolder(path)
    run_log.set_up(
        folder.log if processes.is_rank_zero else worker_log(path, processes.rank),
        speaks=processes.is_rank_zero,
    )
    identity = run_id(shared)  # as it was composed, whoever started the processes
    log.info("Run %s in %s", identity, path)
    for line in startup.removed():
        log.warning("%s", line)
    shared.processes = _counted(shared, processes)
    check(shared)
    if Stage.report in shared.stages:
        processes.on_rank_zero(lambda: _compare(shared, folder))
        return None
    run = RunContext(shared, folder, processes, identity)
    plan = run.plan()
    for line in plan.lines():
        log.info("%s", line)
    # Machines may differ; the first process decides, so that none waits for one that has stopped.
    lacking = processes.broadcast(shortages(plan, run.capacity()))
    refused = [] if shared.plan or shared.plan_force else lacking
    if problems := [*plan.problems(), *refused]:
        raise ConfigError(problems)
    for shortage in lacking:
        log.warning("%s", shortage)
    if shared.plan:
        return None
    processes.on_rank_zero(lambda: folder.open(shared))
    with run.loggers:
        return run.carry_out()


def _compare(config: DictConfig, folder: RunFolder) -> None:
    """Compare finished runs: no data is read, no model is loaded."""
    log.info("Comparing %s", ", ".join(config.runs))
    if not config.plan:
        from dramaeval.stages.report import compare_runs

        folder.open(config)
        compare_runs(config, folder)


def _counted(config: DictConfig, processes: Processes) -> int:
    """The number of processes: torchrun's where it started them, else what the configuration says."""
    if not started_by_launcher():
        return config.processes
    if config.processes not in (1, processes.count):
        raise ConfigError(
            [
                f"processes={config.processes}, but {processes.count} were started: leave it out, or give "
                "torchrun the same number."
            ]
        )
    return processes.count
