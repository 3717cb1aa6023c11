"""Translates the options of ``hydra.launcher`` into options of sbatch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dramaeval.compat.submitit import Executor

#: Options with the same name in submitit.
_UNCHANGED = ("partition", "account", "qos", "constraint", "nodes", "gpus_per_node", "cpus_per_task",
              "array_parallelism", "signal_delay_s")  # fmt: skip


def make_executor(sweep: Path, options: Mapping[str, Any]) -> Executor:
    """The executor that submits the runs of a sweep.

    Args:
        sweep: the sweep's folder.
        options: the settings of ``hydra.launcher``.
    """
    executor = Executor(sweep / ".submitit", max_num_timeout=options["max_num_timeout"])
    mem = options["mem_gb"]
    executor.update_parameters(
        **{name: options[name] for name in _UNCHANGED},
        job_name=options["name"],
        time=options["timeout_min"],
        ntasks_per_node=options["tasks_per_node"],
        mem=None if mem is None else f"{round(mem * 1024)}M",
        setup=options["setup"] or None,
        # srun does not inherit the number of cores from sbatch. Without --kill-on-bad-exit the other processes of a
        # run wait for a process that failed.
        srun_args=[
            f"--cpus-per-task={options['cpus_per_task']}",
            "--kill-on-bad-exit=1",
            *options["srun_args"],
        ],
        additional_parameters={
            "requeue": True,
            **{name: value for name, value in options["additional"].items() if value is not False},
        },
        stderr_to_stdout=True,
        wckey=None,
    )
    return executor
