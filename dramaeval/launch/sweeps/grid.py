"""``hydra/sweeper=grid``: every combination of the values that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override

from dramaeval.config.problems import ConfigError
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.launch.sweeps.sweeper import SweepRunner
from dramaeval.stages.user_errors import user_facing_errors


class GridSweeper(SweepRunner):
    """Hydra's own grid, without its end at the first failure."""

    def sweep(self, arguments: list[str]) -> Any:
        """Carry out all combinations.

        Raises:
            SystemExit: 1 at the end, if a run has not come to its end.
        """
        overrides = self.overrides(arguments)
        with user_facing_errors():
            check_discrete(overrides)
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        if self.launcher.checks:
            self.launcher.launch(jobs, 0)
            return
        with self.alone():
            self.launcher.launch(jobs, 0)
            self.close()

    def go_on(self, runs: Sequence[SweepRun]) -> None:
        """Carry out again what has not finished."""
        if runs:
            self.launcher.carry_out(runs)
        self.close()


def check_discrete(overrides: Sequence[Override]) -> None:
    """A grid needs values that can be listed.

    Raises:
        ConfigError: with those that cannot.
    """
    problems = [
        f"{one.get_key_element()}: a grid cannot list an interval; give values by commas or range(…), or take "
        "hydra/sweeper=optuna."
        for one in overrides
        if one.is_sweep_override() and not one.is_discrete_sweep()
    ]
    if problems:
        raise ConfigError(problems)
