"""How the tasks of a SLURM job find each other: SLURM's variables turned into PyTorch's."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.distributed.rank_variables import AGENT_STORE
from dramaeval.launch.sweeps.folder import load_config

#: Below the range from which Linux takes ports for outgoing connections.
_FIRST_PORT, _PORTS = 15_000, 17_000


def join_by_slurm(folder: Path) -> bool:
    """Set PyTorch's variables for this task, where the run has several processes or asks for DeepSpeed.

    Args:
        folder: of the run.

    Returns:
        whether it has.

    Raises:
        ConfigError: the run asks for another number of processes than SLURM has started.
    """
    slurm = dict(os.environ)
    os.environ.setdefault("OMP_NUM_THREADS", slurm.get("SLURM_CPUS_PER_TASK", "1"))
    config = load_config(folder)
    count = int(slurm.get("SLURM_NTASKS", "1"))
    if config.processes not in (1, count):
        raise ConfigError([processes_problem(config.processes, count)])
    if count == 1 and (config.zero is None or Stage.train not in config.stages):
        return False
    os.environ.update(variables(slurm))
    os.environ.pop(AGENT_STORE, None)  # of a torchrun on the machine from which the job was sent
    return True


def processes_problem(asked: int, tasks: int) -> str:
    """What to say where the two numbers differ."""
    return (
        f"processes={asked}, but nodes × tasks_per_node of hydra.launcher makes {tasks}: every task is a "
        "process of the run. Leave processes out."
    )


def variables(slurm: Mapping[str, str]) -> dict[str, str]:
    """PyTorch's variables for a task of SLURM's.

    Args:
        slurm: the task's environment. MASTER_ADDR and MASTER_PORT are kept where they are set.

    Raises:
        ConfigError: a task sees more than one GPU, but fewer than there are tasks on its node.
    """
    count, here = int(slurm["SLURM_NTASKS"]), int(slurm["SLURM_LOCALID"])
    on_node = int(slurm.get("SLURM_NTASKS_PER_NODE") or count // int(slurm["SLURM_NNODES"]))
    gpus = [one for one in slurm.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    if 1 < len(gpus) < on_node:
        raise ConfigError(
            [
                f"{on_node} processes of the run share {len(gpus)} GPUs of a node: set "
                f"hydra.launcher.tasks_per_node={len(gpus)}, or as many GPUs as processes."
            ]
        )
    # A task that was bound to its own GPU calls it 0, like every other.
    local = 0 if len(gpus) == 1 else here
    # Every task of an array has a number of its own, so that two on one node do not meet each other.
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
    """Where rank 0 is: the first node by name, or by address where the name says nothing to this machine."""
    from submitit.slurm.slurm import _parse_node_list

    name = _parse_node_list(slurm["SLURM_JOB_NODELIST"])[0]
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return slurm.get("SLURM_LAUNCH_NODE_IPADDR", name)
    return name
