"""``sweep=FOLDER``: rewrites the table of an existing sweep, or resumes its unfinished runs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, open_dict, read_write

from dramaeval.compat.hydra import context_of
from dramaeval.config.home_folder import expand_home
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.distributed.folder_lock import locked, release
from dramaeval.distributed.lock_holder import holder_of
from dramaeval.launch.sweeps.folder import CHOOSE, SweepFolder, SweepRun, load_config, write_run
from dramaeval.launch.sweeps.result_rows import state_of
from dramaeval.launch.sweeps.state import (
    DONE,
    PRUNED,
    RUNNING,
    WAITING,
    change_state,
    read_state,
)
from dramaeval.launch.sweeps.table import show_tables

#: The settings that a command with ``sweep=…`` may have.
_ALLOWED = ("sweep", "resume", "stages", "launch.check", "launch.detach", "launch.trust")


def run_sweep_command(config: DictConfig) -> None:
    """Report or resume the sweep in ``config.sweep``.

    Raises:
        ConfigError: the command is wrong.
        SystemExit: a resumed run failed again.
    """
    _check(config)
    _remove_hydra_folder()
    sweep = SweepFolder(expand_home(config.sweep))
    sweep.require()
    if config.resume:
        with locked(sweep.path, CHOOSE):
            require_own(sweep, trust=bool(config.launch.trust))
            resume(sweep, config)
    else:
        report(sweep)


def _check(config: DictConfig) -> None:
    problems = []
    if config.sweep is None:
        problems.append(
            "stages=[report] needs sweep=FOLDER for a sweep's table, or runs=[FOLDER,FOLDER,…] to compare "
            "runs; resume=true needs sweep=FOLDER. A single run is resumed with the same hydra.run.dir."
        )
    elif not config.resume and list(config.stages) != [Stage.report]:
        problems.append("sweep=FOLDER needs stages=[report] for its table, or resume=true.")
    words = map(str, HydraConfig.get().overrides.task)
    others = [word for word in words if word.lstrip("+~").partition("=")[0] not in _ALLOWED]
    if others:
        problems.append(
            f"Every run of a sweep keeps its own settings: leave out {', '.join(others)}."
        )
    if problems:
        raise ConfigError(problems)


def _remove_hydra_folder() -> None:
    """Remove the output folder that Hydra has created for this command, unless it holds other files."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    release(folder)
    if not hydra.output_subdir or [path.name for path in folder.iterdir()] != [hydra.output_subdir]:
        return
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def require_own(sweep: SweepFolder, *, trust: bool) -> None:
    """Check before a resume that this account has written the settings of a sweep.

    Args:
        trust: whether to sign the settings for this account if it has not written them.

    Raises:
        ConfigError: lists the files that have no valid signature.
    """
    files = sweep.unsigned()
    if files and not trust:
        names = [str(file.relative_to(sweep.path)) for file in files]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ConfigError(
            f"sweep={sweep.path} was not written by this account, or was changed since: "
            f"{', '.join(names[:3])}{more}. These files name classes, shell commands and environment "
            "variables, which resume=true would run. Read them; if you trust them, add launch.trust=true."
        )
    if files:
        sweep.sign()


def report(sweep: SweepFolder) -> None:
    """Record the end of runs that could not record it themselves, then write and print the table.

    No class or command that the sweep's settings name is run.
    """
    queue_states, running = _settle(sweep)
    show_tables(sweep, queue_states, running=running)


def _settle(sweep: SweepFolder) -> tuple[dict[int, str], bool]:
    """Record the end of runs that could not record it themselves.

    Returns:
        SLURM's states of the unfinished runs by number, and whether waiting runs may still start.
    """
    runs = sweep.runs()
    submitted = [run for run in runs if (run.folder / "slurm.json").is_file()]
    if submitted and shutil.which("scontrol"):
        from dramaeval.launch.slurm import SlurmJobRunner

        job_runner = SlurmJobRunner(sweep, {"poll_seconds": 1}, submitted)
        queue_states = job_runner.poll()
        if not job_runner.finished:
            time.sleep(2)
            queue_states = job_runner.poll()  # records the runs that SLURM has ended
        return dict(queue_states), True
    for run in runs:
        if read_state(run.folder).state == RUNNING and holder_of(run.folder) is None:
            change_state(run.folder, lambda state: state.failed("its process is gone"))
    return {}, bool(submitted) or holder_of(sweep.path) is not None


def resume(sweep: SweepFolder, config: DictConfig) -> None:
    """Start the unfinished runs again, each in its folder and from its last checkpoint.

    Args:
        config: the configuration of this command. Its ``launch`` replaces the sweep's, and so does its launcher if the
            user has given one.

    Raises:
        SystemExit: a run has not finished (code 1).
    """
    _settle(sweep)
    unfinished: list[SweepRun] = []
    for run in sweep.runs():
        if state_of(run).state in (DONE, PRUNED):
            continue
        if _is_active(run):
            print(f"{run.folder.name} is not resumed: it is {read_state(run.folder).state}.")
        else:
            unfinished.append(run)
    sweeper = _sweeper(sweep, config)
    if config.launch.check:
        sweeper.launcher.show(unfinished, lambda run: load_config(run.folder))
        return
    _reset(unfinished)
    sweeper.resume(unfinished)


def _is_active(run: SweepRun) -> bool:
    """Whether a process works on an unfinished run, or SLURM will start the run."""
    state = read_state(run.folder)
    if state.state == RUNNING:
        return holder_of(run.folder) is not None
    return not state.final and (run.folder / "slurm.json").is_file()


def _reset(runs: Sequence[SweepRun]) -> None:
    for run in runs:
        if run.problem:
            write_run(run)
        (run.folder / "slurm.json").unlink(missing_ok=True)
        change_state(run.folder, lambda state: replace(state, state=WAITING, reason=None))


def _sweeper(sweep: SweepFolder, config: DictConfig) -> Any:
    """The sweeper of a sweep, with the sweep's launcher unless the command line selects another."""
    master, command = sweep.master(), HydraConfig.get()
    words = map(str, command.overrides.hydra)
    with read_write(master), open_dict(master):
        master.hydra.sweep.dir = literal(str(sweep.path))
        master.launch = config.launch
        if any("hydra/launcher" in word or "launcher." in word for word in words):
            master.hydra.launcher = command.launcher
    loader = GlobalHydra.instance().config_loader()
    plugin: Any = Plugins.instance().instantiate_sweeper(
        hydra_context=context_of(loader), task_function=lambda _: None, config=master
    )
    return plugin.implementation
