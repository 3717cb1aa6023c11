"""The available memory: of the GPU, the machine, and the control group of the process.

SLURM, Docker and Kubernetes limit the memory of a job with a control group.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil
import torch
from omegaconf import DictConfig

from dramaeval.models.planning.memory import MemoryEstimate, readable


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Memory in bytes for the processes of a run.

    Attributes:
        host: memory of the machine, for all processes together.
        processes: number of processes on the machine.
        gpu: memory of the GPU of each process; None on a CPU.
        source: the name of what limits the memory of the machine, for messages.
    """

    host: float
    processes: int = 1
    gpu: float | None = None
    source: str = "this machine"

    @classmethod
    def here(cls, device: torch.device, processes: int) -> Capacity:
        """The memory of this machine."""
        gpu = None
        if device.type == "cuda":
            gpu = float(torch.cuda.get_device_properties(device).total_memory)
        machine, group = float(psutil.virtual_memory().total), group_limit()
        source = "this process's control group" if group < machine else "this machine"
        return cls(host=min(machine, group), processes=processes, gpu=gpu, source=source)

    @classmethod
    def described(cls, config: DictConfig) -> Capacity | None:
        """The memory of the machine that ``plan_memory_gib`` describes; None if it is not set."""
        if config.plan_memory_gib is None:
            return None
        memory, source = config.plan_memory_gib * 2.0**30, "the machine of plan_memory_gib"
        if config.plan_device == "cuda":
            return cls(host=math.inf, processes=config.processes, gpu=memory, source=source)
        return cls(host=memory, processes=config.processes, source=source)

    def shortages(self, memory: MemoryEstimate) -> list[str]:
        """Describe the memory in an estimate that exceeds this capacity, as sentences without a full stop."""
        sentences = []
        if self.gpu is not None and memory.total > self.gpu:
            sentences.append(
                f"about {readable(memory.total)} of GPU memory, and the GPU has {readable(self.gpu)}"
            )
        needed = memory.host if self.gpu is not None else memory.total + memory.host
        if needed * self.processes > self.host:
            shared = f" for {self.processes} processes" if self.processes > 1 else ""
            sentences.append(
                f"about {readable(needed * self.processes)} of memory{shared}, and {self.source} has "
                f"{readable(self.host)}"
            )
        return sentences


def group_limit(proc: Path = Path("/proc/self")) -> float:
    """The smallest memory limit, in bytes, of a process's control groups (version 1 or 2); infinity without a limit.

    The limits of parent groups apply to a group too.

    Args:
        proc: the folder of the process in ``/proc``.
    """
    try:
        groups = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (proc / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    paths = {}
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            paths["cgroup2"] = path
        elif "memory" in controllers.split(","):
            paths["cgroup"] = path
    limits = [math.inf]
    for line in mounts:
        mount, _, source = line.partition(" - ")
        (root, folder), kind = mount.split(" ")[3:5], source.split(" ")[0]
        if kind == "cgroup" and "memory" not in source.split(" ")[-1].split(","):
            continue
        if kind in paths:
            limits += _limits(Path(folder), _below(paths[kind], root))
    return min(limits)


def _below(path: str, root: str) -> PurePosixPath:
    """The path of a group relative to the mounted group; empty if the group is not below it."""
    group = PurePosixPath(path)
    if ".." in group.parts or not group.is_relative_to(root):
        return PurePosixPath()
    return group.relative_to(root)


def _limits(mount: Path, group: PurePosixPath) -> Iterator[float]:
    """The limits of a group and of its mounted parent groups."""
    for ancestor in (group, *group.parents):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                yield float((mount / ancestor / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # the root group has no limit, and "max" means no limit
