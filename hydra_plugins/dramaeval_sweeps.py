"""Hydra takes launchers and sweepers from this namespace alone; what they do is in `dramaeval`.

Hydra imports this at every start, so nothing heavy is imported here.
"""

from __future__ import annotations

from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class _Launching(Launcher):
    """Hands everything on to a launcher that is imported when it is chosen."""

    def __init__(self, **options: Any) -> None:
        self.does = self.choose()(**options)

    @staticmethod
    def choose() -> Any:
        """The class that does the work."""
        raise NotImplementedError

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See `dramaeval.launch.launcher`."""
        self.does.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Any, initial_job_idx: int) -> list[JobReturn]:
        """See `dramaeval.launch.launcher`."""
        return self.does.launch(job_overrides, initial_job_idx)


class LocalProcesses(_Launching):
    """``hydra/launcher=local_processes``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.launch.local`."""
        from dramaeval.launch.local import LocalLauncher

        return LocalLauncher


class Slurm(_Launching):
    """``hydra/launcher=slurm`` and ``slurm_cpu``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.launch.slurm`."""
        from dramaeval.launch.slurm import SlurmLauncher

        return SlurmLauncher


class _Sweeping(Sweeper):
    """Hands everything on to a sweeper that is imported when it is chosen."""

    def __init__(self, **options: Any) -> None:
        self.does = self.choose()(**options)

    @staticmethod
    def choose() -> Any:
        """The class that does the work."""
        raise NotImplementedError

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """See `dramaeval.launch.sweeps.sweeper`."""
        self.does.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """See `dramaeval.launch.sweeps.sweeper`."""
        return self.does.sweep(arguments)


class Grid(_Sweeping):
    """``hydra/sweeper=grid``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.launch.sweeps.grid`."""
        from dramaeval.launch.sweeps.grid import GridSweeper

        return GridSweeper


class Optuna(_Sweeping):
    """``hydra/sweeper=optuna``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.launch.sweeps.search`."""
        from dramaeval.launch.sweeps.search import SearchSweeper

        return SearchSweeper
