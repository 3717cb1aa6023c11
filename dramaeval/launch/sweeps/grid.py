"""``hydra/sweeper=grid``: a run for each combination of the given values."""

from __future__ import annotations

from collections.abc import Sequence

from dramaeval.compat.hydra import grid_jobs
from dramaeval.config.problems import ConfigError
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.launch.sweeps.sweeper import SweepRunner, end
from dramaeval.stages.user_errors import user_facing_errors


class GridSweeper(SweepRunner):
    """Starts a run for each combination, as Hydra's sweeper does, but continues after a run has failed."""

    def sweep(self, arguments: list[str]) -> None:
        """Start a run for each combination.

        Raises:
            SystemExit: a value cannot be listed, or a run has not finished (code 1).
        """
        overrides = self.overrides(arguments)
        problems = [
            f"{override.get_key_element()}: a grid cannot list an interval; give values separated by commas or "
            "range(…), or use hydra/sweeper=optuna."
            for override in overrides
            if override.is_sweep_override() and not override.is_discrete_sweep()
        ]
        if problems:
            with user_facing_errors():
                raise ConfigError(problems)
        jobs = grid_jobs(overrides)
        if self.launcher.is_check:
            self.launcher.launch(jobs, 0)
            return
        with self.locked_folder():
            self.launcher.launch(jobs, 0)
            end(self.folder)

    def resume(self, runs: Sequence[SweepRun]) -> None:
        """Start the unfinished runs again.

        Raises:
            SystemExit: a run has not finished (code 1).
        """
        if runs:
            self.launcher.run(runs)
        end(self.folder)
