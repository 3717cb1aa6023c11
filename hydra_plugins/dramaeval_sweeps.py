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
        """See `dramaeval.sweep.launching`."""
        self.does.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Any, initial_job_idx: int) -> list[JobReturn]:
        """See `dramaeval.sweep.launching`."""
        return self.does.launch(job_overrides, initial_job_idx)


class LocalProcesses(_Launching):
    """``hydra/launcher=local_processes``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.cluster.local`."""
        from dramaeval.cluster.local import LocalLauncher

        return LocalLauncher


class Slurm(_Launching):
    """``hydra/launcher=slurm`` and ``slurm_cpu``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.cluster.slurm`."""
        from dramaeval.cluster.slurm import SlurmLauncher

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
        """See `dramaeval.sweep.sweeper`."""
        self.does.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        """See `dramaeval.sweep.sweeper`."""
        return self.does.sweep(arguments)


class Grid(_Sweeping):
    """``hydra/sweeper=grid``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.sweep.grid`."""
        from dramaeval.sweep.grid import GridSweeper

        return GridSweeper


class Optuna(_Sweeping):
    """``hydra/sweeper=optuna``."""

    @staticmethod
    def choose() -> Any:
        """`dramaeval.sweep.search`."""
        from dramaeval.sweep.search import SearchSweeper

        return SearchSweeper
