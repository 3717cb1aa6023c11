"""Translates SLURM's environment variables into the variables with which PyTorch's processes find each other."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError
from dramaeval.distributed.processes import needs_process_group
from dramaeval.distributed.rank_variables import AGENT_STORE

#: A range of ports below the one from which Linux takes ports for outgoing connections.
_FIRST_PORT, _PORTS = 15_000, 17_000


def join_by_slurm(config: DictConfig) -> None:
    """Set PyTorch's variables for this task if the run has several processes or uses DeepSpeed.

    Raises:
        ConfigError: ``processes`` differs from the number of tasks that SLURM has started.
    """
    slurm = dict(os.environ)
    os.environ.setdefault("OMP_NUM_THREADS", slurm.get("SLURM_CPUS_PER_TASK", "1"))
    count = int(slurm.get("SLURM_NTASKS", "1"))
    if config.processes not in (1, count):
        raise ConfigError(processes_problem(config.processes, count))
    if needs_process_group(config, count):
        os.environ.update(variables(slurm))
        # Set if torchrun runs on the machine that submitted the job.
        os.environ.pop(AGENT_STORE, None)


def processes_problem(configured: int, tasks: int) -> str:
    """The message for a configured number of processes that differs from the number of tasks."""
    return (
        f"processes={configured}, but nodes × tasks_per_node of hydra.launcher is {tasks}: every task is a "
        "process of the run. Leave processes out."
    )


def variables(slurm: Mapping[str, str]) -> dict[str, str]:
    """PyTorch's variables for a SLURM task.

    Args:
        slurm: the environment of the task. MASTER_ADDR and MASTER_PORT are kept if they are set.

    Raises:
        ConfigError: a task sees more than one GPU, but fewer than there are tasks on its node.
    """
    count, here = int(slurm["SLURM_NTASKS"]), int(slurm["SLURM_LOCALID"])
    on_node = int(slurm.get("SLURM_NTASKS_PER_NODE") or count // int(slurm["SLURM_NNODES"]))
    gpus = [gpu for gpu in slurm.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    if 1 < len(gpus) < on_node:
        raise ConfigError(
            f"{on_node} processes of the run share {len(gpus)} GPUs of a node: set "
            f"hydra.launcher.tasks_per_node={len(gpus)}, or as many GPUs as processes."
        )
    # A task that is bound to a single GPU sees this GPU as number 0.
    local = 0 if len(gpus) == 1 else here
    # The job number differs between the tasks of an array, so that two runs on a node use different ports.
    port = _FIRST_PORT + int(slurm["SLURM_JOB_ID"]) % _PORTS
    return {
        "RANK": slurm["SLURM_PROCID"],
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(on_node),
        "MASTER_ADDR": slurm.get("MASTER_ADDR") or _first_node(slurm),
        "MASTER_PORT": slurm.get("MASTER_PORT") or str(port),
    }


def _first_node(slurm: Mapping[str, str]) -> str:
    """The host of rank 0: the first node's name, or its address if this machine cannot resolve the name."""
    from dramaeval.compat.submitit import node_names

    name = node_names(slurm["SLURM_JOB_NODELIST"])[0]
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return slurm.get("SLURM_LAUNCH_NODE_IPADDR", name)
    return name
