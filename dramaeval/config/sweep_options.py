"""The options of launchers and sweepers: ``hydra.launcher`` and ``hydra.sweeper``.

Hydra composes them from these declarations. The files in ``configs/hydra/launcher`` and ``configs/hydra/sweeper`` name
the class that reads the options, and change defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dramaeval.config.fields import setting

_LINE, _LINES = "one line of text", "a list of texts of one line each"


@dataclass(kw_only=True)
class LocalOptions:
    """``hydra/launcher=local_processes``: the runs of a sweep on this machine, each in a separate process."""

    parallel: int = setting(1, help="runs at the same time", minimum=1)
    gpus_per_run: int | None = setting(
        None, help="GPUs that each run sees; null: every run sees all", minimum=1
    )
    poll_seconds: float = setting(
        1.0, help="seconds between two checks of the runs' states", above=0
    )


@dataclass(kw_only=True)
class SlurmOptions:
    """``hydra/launcher=slurm``: the runs of a sweep as a SLURM job array. The names are submitit's."""

    name: str = setting("dramaeval", help="name of the job", kind=_LINE, one_line=True)
    partition: str | None = setting(
        None,
        help="partition, or several separated by commas; null: the cluster's default",
        kind=_LINE,
        one_line=True,
    )
    account: str | None = setting(
        None, help="account that is charged; null: the cluster's default", kind=_LINE, one_line=True
    )
    qos: str | None = setting(
        None, help="quality of service; null: the cluster's default", kind=_LINE, one_line=True
    )
    constraint: str | None = setting(
        None, help="features that a node must have, like a100|h100", kind=_LINE, one_line=True
    )
    nodes: int = setting(1, help="nodes of each run", minimum=1)
    gpus_per_node: int | None = setting(1, help="GPUs of each node; null: none", minimum=1)
    tasks_per_node: int | None = setting(
        "${.gpus_per_node}",
        help="processes of a run on each node; its nodes × tasks_per_node processes share the work",
        minimum=1,
    )
    cpus_per_task: int = setting(8, help="cores of each process", minimum=1)
    mem_gb: float | None = setting(
        64.0, help="memory of each node, in GB (1024 MB); null: the cluster's default", above=0
    )
    timeout_min: int = setting(
        1440, help="time limit of a job, in minutes; an unfinished run is requeued", minimum=1
    )
    array_parallelism: int = setting(16, help="runs at the same time", minimum=1)
    max_num_timeout: int = setting(
        20, help="times that a run may reach its time limit before it counts as failed", minimum=0
    )
    signal_delay_s: int = setting(
        300,
        help="seconds before the time limit at which the run receives the signal to save a checkpoint",
        minimum=1,
    )
    setup: list[str] = setting(
        [],
        help="shell commands before the run, like [module load cuda]",
        kind=_LINES,
        one_line=True,
    )
    srun_args: list[str] = setting([], help="further arguments of srun", kind=_LINES, one_line=True)
    additional: dict[str, str | int | float | bool] = setting(
        dict,
        help="further options of sbatch by their long names, like {reservation: x, mail-user: me@x.org}",
        kind="options by name, each with a number or one line of text, as {reservation: x}",
        one_line=True,
    )
    poll_seconds: float = setting(
        10.0, help="seconds between two checks of the jobs' states", above=0
    )


@dataclass(kw_only=True)
class GridOptions:
    """``hydra/sweeper=grid``: every combination of the values given."""

    params: dict[str, Any] = setting(
        dict, help="swept settings by key, in addition to those of the command line"
    )


@dataclass(kw_only=True)
class SearchOptions(GridOptions):
    """``hydra/sweeper=optuna``: Optuna searches for the settings with the best objective."""

    n_trials: int = setting(20, help="runs in total", minimum=1)
    n_jobs: int = setting(
        1, help="runs at the same time; each batch is chosen from the results before it", minimum=1
    )
    direction: str = setting(
        "maximize", help="direction of the objective", choices=("maximize", "minimize")
    )
    sampler: Any = setting(None, help="a class of optuna.samplers with its arguments")
    pruner: Any = setting(
        None,
        help="a class of optuna.pruners with its arguments, applied at each validation; "
        "optuna.pruners.NopPruner prunes no run",
    )


#: The options of each file, by group and name in Hydra's config store.
OPTIONS: dict[tuple[str, str], type] = {
    ("hydra/launcher", "local_options"): LocalOptions,
    ("hydra/launcher", "slurm_options"): SlurmOptions,
    ("hydra/sweeper", "grid_options"): GridOptions,
    ("hydra/sweeper", "search_options"): SearchOptions,
}
