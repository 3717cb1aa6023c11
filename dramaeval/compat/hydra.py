"""Private parts of Hydra."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext


def grid_jobs(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of each job of a grid.

    Reaches: ``hydra._internal.core_plugins.basic_sweeper.BasicSweeper.split_arguments``.
    Why: Hydra's function combines and quotes the values. Hydra's sweeper as a whole ends at the first job that fails.
    Since: Hydra 1.3.
    Remove when: Hydra offers the function outside ``_internal``.
    """
    (jobs,) = BasicSweeper.split_arguments(list(overrides), None)
    return [list(job) for job in jobs]


def context_of(config_loader: ConfigLoader) -> HydraContext:
    """A context for a sweeper, without callbacks.

    Reaches: ``hydra._internal.callbacks.Callbacks``.
    Why: a `HydraContext` requires callbacks, whose class is internal.
    Since: Hydra 1.3.
    Remove when: a `HydraContext` can be created without callbacks.
    """
    return HydraContext(config_loader=config_loader, callbacks=Callbacks())


def share_schemas(store: ConfigStore) -> None:
    """Let Hydra's copies of its configuration sources share one store of schemas.

    Reaches: `copy.deepcopy` of the store, of which a process has only one.
    Why: Hydra copies its sources, and with them all schemas, for each of more than a hundred groups that ``--help``
    lists. That took 0.9 of 1.5 s. The store gives each reader a copy of a schema, so that sharing is safe.
    Since: Hydra 1.3.
    Remove when: Hydra no longer copies the store.
    """
    store.__dict__["__deepcopy__"] = lambda memo: store
