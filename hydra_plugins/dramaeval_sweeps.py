"""The plugins of dramaeval's launchers and sweepers, which are implemented in `dramaeval.launch`.

Hydra imports this module at every start, so a plugin imports its implementation only when it is selected.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dramaeval.config.extras import missing_package


def _user_facing_errors() -> AbstractContextManager[None]:
    from dramaeval.stages.user_errors import user_facing_errors

    return user_facing_errors()


class _Deferred:
    """Forwards Hydra's calls to an implementation, which is imported when the plugin is created.

    Errors that the user can fix end the command with one message; Hydra would print others.

    Attributes:
        PATH: the module and the class of the implementation.
        PACKAGE: the optional package that the implementation needs; None without one.
    """

    PATH: tuple[str, str]
    PACKAGE: str | None = None

    def __init__(self, **options: Any) -> None:
        if self.PACKAGE and (problem := missing_package(self.PACKAGE, type(self).__name__)):
            raise SystemExit(problem)
        module, name = self.PATH
        self.implementation = getattr(import_module(module), name)(**options)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Forward Hydra's configuration."""
        with _user_facing_errors():
            self.implementation.setup(
                hydra_context=hydra_context, task_function=task_function, config=config
            )


class _DeferredLauncher(_Deferred, Launcher):
    def launch(self, job_overrides: Any, initial_job_idx: int) -> list[JobReturn]:
        """Forward the runs to the implementation, which keeps their results in the sweep's table."""
        with _user_facing_errors():
            self.implementation.launch(job_overrides, initial_job_idx)
        return []


class _DeferredSweeper(_Deferred, Sweeper):
    def sweep(self, arguments: list[str]) -> None:
        """Forward the overrides to the implementation."""
        with _user_facing_errors():
            self.implementation.sweep(arguments)


class LocalProcesses(_DeferredLauncher):
    """``hydra/launcher=local_processes``."""

    PATH = ("dramaeval.launch.local", "LocalLauncher")


class Slurm(_DeferredLauncher):
    """``hydra/launcher=slurm`` and ``slurm_cpu``."""

    PATH = ("dramaeval.launch.slurm", "SlurmLauncher")
    PACKAGE = "submitit"


class Grid(_DeferredSweeper):
    """``hydra/sweeper=grid``."""

    PATH = ("dramaeval.launch.sweeps.sweeper", "GridSweeper")


class Optuna(_DeferredSweeper):
    """``hydra/sweeper=optuna``."""

    PATH = ("dramaeval.launch.sweeps.search", "SearchSweeper")
    PACKAGE = "optuna"
