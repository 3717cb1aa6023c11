"""``sweep=PATH``: the table of a sweep once more, or the runs that have not finished."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict, read_write

from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.distributed.folder_lock import give_back, locked
from dramaeval.distributed.lock_holder import holder_of
from dramaeval.launch.sweeps.folder import CHOOSE, SweepFolder, SweepRun, describe
from dramaeval.launch.sweeps.rows import state_of
from dramaeval.launch.sweeps.state import FAILED, RUNNING, WAITING, change_state, read_state
from dramaeval.launch.sweeps.table import print_table, write_tables
from dramaeval.stages.user_errors import user_facing_errors

_TAKEN = ("sweep", "resume", "stages", "launch.check", "launch.detach", "launch.trust")


def run_sweep_command(config: DictConfig) -> None:
    """Do what is asked for with a sweep's folder.

    Raises:
        SystemExit: what is asked for cannot be done, or a resumed run failed again.
    """
    with user_facing_errors():
        _check(config)
        _clear_away()
        sweep = SweepFolder(Path(config.sweep).expanduser())
        sweep.require()
        if config.resume:
            with locked(sweep.path, CHOOSE):
                require_own(sweep, trust=bool(config.launch.trust))
                resume(sweep, sweep.master(), config)
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
    words = [str(one) for one in HydraConfig.get().overrides.task]
    others = [one for one in words if one.lstrip("+~").partition("=")[0] not in _TAKEN]
    if others:
        problems.append(
            f"Every run of a sweep keeps its own settings: leave out {', '.join(others)}."
        )
    if problems:
        raise ConfigError(problems)


def _clear_away() -> None:
    """Remove the folder that Hydra has made for this command, which leaves nothing behind itself."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    give_back(folder)
    if not hydra.output_subdir or [one.name for one in folder.iterdir()] != [hydra.output_subdir]:
        return  # a folder with more in it, that the user has named
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def require_own(sweep: SweepFolder, *, trust: bool) -> None:
    """Stop where a sweep is to be resumed that another account may have written.

    Args:
        sweep: its folder.
        trust: whether the user says that it may run; it then counts as this account's own.

    Raises:
        ConfigError: it names the files.
    """
    files = sweep.unsigned()
    if not files:
        return
    if not trust:
        names = [str(file.relative_to(sweep.path)) for file in files]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ConfigError(
            [
                f"sweep={sweep.path} was not written by this account, or was changed since: "
                f"{', '.join(names[:3])}{more}. These files name classes, lines of shell and environment "
                "variables, which resume=true would run. Read them; if you trust them, add launch.trust=true."
            ]
        )
    sweep.sign()


def report(sweep: SweepFolder) -> None:
    """Settle runs that ended without a word, write the table and print it; the folder is read as data."""
    outlook, running = _look_after(sweep)
    table = write_tables(sweep.path, outlook, running=running)
    print_table(table, sweep.path)


def _look_after(sweep: SweepFolder) -> tuple[dict[int, str], bool]:
    """Ask SLURM, or this machine, about runs that have not finished; whether any may still begin."""
    runs = sweep.runs()
    by_slurm = [run for run in runs if (run.folder / "slurm.json").is_file()]
    if by_slurm and shutil.which("scontrol"):
        from dramaeval.launch.slurm import SlurmJobRunner

        job_runner = SlurmJobRunner(
            sweep, {"poll_seconds": 1}
        )  # nothing is sent, and it is asked twice at most
        job_runner.take_up(by_slurm)
        outlook = job_runner.look()
        if not job_runner.over:
            time.sleep(2)
            outlook = job_runner.look()
        return dict(outlook), True
    for run in runs:
        if read_state(run.folder).state == RUNNING and not _is_held(run):
            change_state(run.folder, lambda state: state.failed("its process is gone"))
    return {}, bool(by_slurm) or holder_of(sweep.path) is not None


def resume(sweep: SweepFolder, master: DictConfig, config: DictConfig) -> None:
    """Carry out again, each in its folder and from its checkpoint, what has not come to its end."""
    _look_after(sweep)
    at_work: list[SweepRun] = []
    again: list[SweepRun] = []
    for run in sweep.runs():
        if state_of(run).state in ("done", "pruned"):
            continue
        (at_work if _at_work(run) else again).append(run)
    for run in at_work:
        print(f"{run.folder.name} is left alone: it is {read_state(run.folder).state}.")
    sweeper = _sweeper(sweep, master, config)
    if config.launch.check:
        print(sweeper.launcher.preview(again))
        return
    _reset(again)
    sweeper.go_on(again)


def _at_work(run: SweepRun) -> bool:
    """Whether a run goes on or will, by itself."""
    state = read_state(run.folder)
    if state.state == RUNNING:
        return _is_held(run)
    if state.state in (FAILED, "never started"):
        return False
    return (run.folder / "slurm.json").is_file()


def _is_held(run: SweepRun) -> bool:
    """Whether a process works on a run whose state says so."""
    state = read_state(run.folder)
    if state.started is None:  # of an earlier version, which took no lock
        return not state.gone
    return holder_of(run.folder) is not None


def _reset(runs: Sequence[SweepRun]) -> None:
    for run in runs:
        if run.problem:
            describe(run)
        (run.folder / "slurm.json").unlink(missing_ok=True)
        change_state(run.folder, lambda state: replace(state, state=WAITING, reason=None))


def _sweeper(sweep: SweepFolder, master: DictConfig, config: DictConfig) -> Any:
    """The sweep's own sweeper, with its own launcher unless the command line names another."""
    mine = HydraConfig.get()
    named = [
        str(one) for one in mine.overrides.hydra if "hydra/launcher" in one or "launcher." in one
    ]
    with read_write(master), open_dict(master):
        master.hydra.sweep.dir = literal(str(sweep.path))
        master.launch = config.launch
        if named:
            master.hydra.launcher = mine.launcher
    loader = GlobalHydra.instance().config_loader()
    context = HydraContext(config_loader=loader, callbacks=Callbacks())
    plugin: Any = Plugins.instance().instantiate_sweeper(
        hydra_context=context, task_function=lambda _: None, config=master
    )
    return plugin.does
