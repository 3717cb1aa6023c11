"""The processes of a run: which one this is, and how they agree.

Where several processes share a run, each holds the same configuration and reads the same data. What is
decided from files (is this done already?) is decided by the first and told to the others, and only the first
writes. They are started by `dramaeval.distributed.spawn` or by torchrun; either way the environment says so in
PyTorch's variables RANK, WORLD_SIZE and LOCAL_RANK.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from omegaconf import DictConfig

from dramaeval.config.schema import Stage
from dramaeval.distributed import rank_variables as ranks

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: of this one, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """What the first process has here; the others' values are ignored."""
        if self.count == 1:
            return value
        import torch.distributed

        told = [value]
        torch.distributed.broadcast_object_list(told, src=0)
        return told[0]

    def gather(self, value: T) -> list[T]:
        """Everybody's value, in the order of the ranks, at everybody's."""
        if self.count == 1:
            return [value]
        import torch.distributed

        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def barrier(self) -> None:
        """Go on when all are here."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.barrier()

    def on_rank_zero(self, work: Callable[[], None]) -> None:
        """Let the first do something that must happen once, and everybody wait for it."""
        if self.is_rank_zero:
            work()
        self.barrier()


#: A run of one process.
SINGLE_PROCESS = Processes()


def started_by_launcher() -> bool:
    """Whether somebody started this process as one of a group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def needs_process_group(config: DictConfig) -> bool:
    """Whether a run needs a process group: it has several processes, or trains with DeepSpeed."""
    return config.processes > 1 or (config.zero is not None and Stage.train in config.stages)


def process_count(asked: int) -> int:
    """The number of processes of the run: those that a launcher started, or as many as ``processes`` asks for."""
    return int(os.environ["WORLD_SIZE"]) if started_by_launcher() else asked


def processes_here(count: int) -> int:
    """How many of a run's ``count`` processes run on this machine; all, unless whoever started them says so."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count)) if started_by_launcher() else count


@contextmanager
def process_group() -> Iterator[Processes]:
    """The group that this process was started in; `SINGLE_PROCESS` where there is none.

    It is left in order whatever happens: a process that ends without it waits for the others for ever.
    """
    if not started_by_launcher():
        yield SINGLE_PROCESS
        return
    try:
        yield _join()
    finally:
        _leave()


def _join() -> Processes:
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not torch.distributed.is_initialized():
        ranks.join("cpu:gloo,cuda:nccl" if cuda else "gloo")
    return Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())


def _leave() -> None:
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
