"""The base class of the sweepers, which checks settings, locks the sweep's folder and reports the runs that failed; and
``hydra/sweeper=grid``: a run for each combination of the given values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dramaeval.compat.hydra import grid_jobs
from dramaeval.config import fields
from dramaeval.config.problems import ConfigError
from dramaeval.config.secrets import refuse_words
from dramaeval.config.sweep_options import GridOptions
from dramaeval.distributed.folder_lock import locked
from dramaeval.launch.launcher import PLUGINS
from dramaeval.launch.runner import command
from dramaeval.launch.sweeps.folder import CHOOSE, SweepFolder, SweepRun
from dramaeval.launch.sweeps.table import settings, show_tables


class SweepRunner:
    """The base of the implementations behind Hydra's sweeper plugins."""

    #: The dataclass that declares the options.
    OPTIONS: type = GridOptions

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store and check Hydra's configuration, and create the launcher.

        Raises:
            ConfigError: lists all problems.
        """
        self.context, self.config = hydra_context, config
        problems = self.problems()
        if problems:
            raise ConfigError(problems)
        plugin: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launcher = plugin.implementation
        self.folder = SweepFolder(Path(str(config.hydra.sweep.dir)))

    def problems(self) -> list[str]:
        """The problems of the sweep's settings."""
        problems = fields.problems(self.OPTIONS, self.options, "hydra.sweeper")
        if not str(self.config.hydra.launcher._target_).startswith(PLUGINS):
            problems.append(
                "hydra/launcher: choose one of local_processes, slurm, slurm_cpu; other launchers keep no "
                "table of the runs."
            )
        if self.config.sweep is not None:
            problems.append("sweep=… and -m exclude each other: leave out one of them.")
        return problems

    @contextmanager
    def locked_folder(self) -> Iterator[None]:
        """Lock the sweep's folder, so that no other process starts or resumes runs in it.

        Raises:
            FolderInUseError: another process has locked it.
        """
        try:
            with locked(self.folder.path, CHOOSE):
                yield
        finally:
            with suppress(OSError):
                self.folder.path.rmdir()  # the folder is empty if no run could be composed

    def overrides(self, arguments: Sequence[str]) -> list[Override]:
        """The overrides of ``hydra.sweeper.params`` and of the command line; the latter take precedence."""
        params: Mapping[str, Any] = self.options.get("params") or {}
        words = [f"{key}={value}" for key, value in params.items()]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        refuse_words(words)
        refuse_words(arguments)
        parsed = parser.parse_overrides([*words, *arguments])
        return list({override.get_key_element(): override for override in parsed}.values())

    def end(self) -> None:
        """Write and print the table at the end of a sweep.

        Raises:
            SystemExit: a run has not finished (code 1); the message lists the unfinished runs.
        """
        # This process has written multirun.yaml, or has checked its signature before a resume.
        table = show_tables(self.folder, running=False, own=True)
        lines = [
            f"  {row.run.folder.name} ({settings(row.settings(table.varied))}): {row.description}"
            for row in table.unfinished
        ]
        if lines:
            raise SystemExit(
                f"\n{len(lines)} of {len(table.rows)} runs did not finish:\n"
                + "\n".join(lines)
                + f"\nRun them again with: {command(self.folder, 'resume=true')}"
            )


class GridSweeper(SweepRunner):
    """Starts a run for each combination, as Hydra's sweeper does, but continues after a run has failed."""

    def sweep(self, arguments: list[str]) -> None:
        """Start a run for each combination.

        Raises:
            ConfigError: a value cannot be listed.
            SystemExit: a run has not finished (code 1).
        """
        overrides = self.overrides(arguments)
        problems = [
            f"{override.get_key_element()}: a grid cannot list an interval; give values separated by commas or "
            "range(…), or use hydra/sweeper=optuna."
            for override in overrides
            if override.is_sweep_override() and not override.is_discrete_sweep()
        ]
        if problems:
            raise ConfigError(problems)
        jobs = grid_jobs(overrides)
        if self.launcher.is_check:
            self.launcher.launch(jobs, 0)
            return
        with self.locked_folder():
            self.launcher.launch(jobs, 0)
            self.end()

    def resume(self, runs: Sequence[SweepRun]) -> None:
        """Start the unfinished runs again.

        Raises:
            SystemExit: a run has not finished (code 1).
        """
        if runs:
            self.launcher.run(runs)
        self.end()
