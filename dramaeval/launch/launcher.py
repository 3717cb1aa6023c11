"""The base class of the launchers ``hydra/launcher=…``: creates a folder for each run of a sweep and starts the runs."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dramaeval import startup
from dramaeval.config import fields
from dramaeval.config.config_folder import command_name
from dramaeval.config.literal import plain
from dramaeval.config.problems import ConfigError
from dramaeval.data.problems import counted
from dramaeval.distributed.processes import started_by_launcher
from dramaeval.launch.runner import DetachedSweep, JobRunner, watch
from dramaeval.launch.sweeps.checks import plan_runs
from dramaeval.launch.sweeps.folder import SweepFolder, SweepRun, load_config, without_hydra

#: The module of the launchers and sweepers that keep a table of the runs.
PLUGINS = "hydra_plugins.dramaeval_sweeps."


class SweepLauncher(ABC):
    """Creates the run folders of a sweep, and starts and watches the runs."""

    #: The dataclass that declares the options.
    OPTIONS: type

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {name: plain(value) for name, value in options.items()}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store and check Hydra's configuration.

        Raises:
            ConfigError: lists all problems.
        """
        self.context, self.config = hydra_context, config
        self.folder = SweepFolder(Path(str(config.hydra.sweep.dir)))
        for line in startup.prepare():
            print(line)
        problems = [
            *self.problems(),
            *fields.problems(self.OPTIONS, self.options, "hydra.launcher"),
        ]
        if problems:
            raise ConfigError(problems)

    def problems(self) -> list[str]:
        """The problems of the sweep's settings."""
        hydra, problems = self.config.hydra, []
        if started_by_launcher():
            problems.append(
                f"A sweep starts its processes itself: {command_name()} -m processes=N …, without torchrun."
            )
        if not str(hydra.sweeper._target_).startswith(PLUGINS):
            problems.append(
                "hydra/sweeper: choose one of grid, optuna; other sweepers neither list nor resume the runs that failed."
            )
        if hydra.job.chdir:
            problems.append("hydra.job.chdir=true is not possible in a sweep: leave it false.")
        if set(hydra.get("callbacks") or {}) - {"command", "run_folder", "lock_folder"}:
            problems.append("hydra.callbacks do not reach the runs of a sweep: leave them out.")
        return problems

    @abstractmethod
    def job_runner(self) -> JobRunner:
        """The object that starts and watches the runs."""

    @abstractmethod
    def preview(self, runs: Sequence[SweepRun]) -> str:
        """The jobs and commands that would be started, as text."""

    @property
    def is_check(self) -> bool:
        """Whether the sweep is only shown and no run is started."""
        return bool(self.config.launch.check or self.config.plan)

    @property
    def machine(self) -> Mapping[str, Any]:
        """The values that settings have on the machine of the runs; see `plan_runs`."""
        return {}

    def run_problems(self, config: DictConfig) -> list[str]:
        """The contradictions between a run's settings and the launcher's options."""
        return []

    def show(self, runs: Sequence[SweepRun], settings_of: Callable[[SweepRun], DictConfig]) -> None:
        """Check the runs, and print the plan of each run, or with ``launch.check=true`` what would be started.

        Args:
            settings_of: see `plan_runs`.

        Raises:
            ConfigError: lists the problems of all runs.
        """
        check = bool(self.config.launch.check)
        if check:
            print(self.preview(runs), flush=True)
        self._require_fitting(runs, settings_of)
        plans = plan_runs(runs, settings_of, self.machine, starts=check)
        if check:
            number = counted(len(runs), "run")
            print(f"\nThe settings, files and records of all {number} are valid.")
            return
        for run, plan in zip(runs, plans, strict=True):
            print(f"{run.folder.name}: {shlex.join(run.overrides) or '(defaults)'}")
            print("\n".join(plan))

    def _require_fitting(
        self, runs: Sequence[SweepRun], settings_of: Callable[[SweepRun], DictConfig]
    ) -> None:
        """Raise ConfigError if settings of a run contradict the launcher's options."""
        problems = [
            f"{run.folder.name}: {problem}"
            for run in runs
            for problem in self.run_problems(settings_of(run))
        ]
        if problems:
            raise ConfigError(problems)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> None:
        """Create the folders of the runs and start them."""
        if self.is_check:
            configs = self.folder.compose(self.context, self.config, job_overrides, initial_job_idx)

            def settings_of(run: SweepRun) -> DictConfig:
                HydraConfig.instance().set_config(configs[run])
                return without_hydra(configs[run])

            self.show(list(configs), settings_of)
            return
        runs = self.folder.add(self.context, self.config, job_overrides, initial_job_idx)
        if not initial_job_idx:
            print(f"Sweep in {self.folder.path}", flush=True)
        self.run(runs)

    def run(self, runs: Sequence[SweepRun]) -> None:
        """Start runs whose folders exist, and wait for their ends.

        Raises:
            SystemExit: the command ends before the runs do; the code is 0 for ``launch.detach=true``.
        """
        self._require_fitting(runs, lambda run: load_config(run.folder))
        job_runner = self.job_runner()
        try:
            watch(job_runner, self.folder, runs, detach=bool(self.config.launch.detach))
        except DetachedSweep as detached:
            print(detached)
            raise SystemExit(detached.code) from None
