"""The processes of a run: their number, the rank of this process, and the exchange of values.

All processes of a run have the same configuration and read the same data. Rank 0 makes the decisions that depend on
files and broadcasts them; only rank 0 writes. `dramaeval.distributed.spawn`, torchrun or SLURM starts the processes and
sets PyTorch's variables RANK, WORLD_SIZE and LOCAL_RANK. Other modules use this module and do not read those variables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from omegaconf import DictConfig

from dramaeval.config.schema import Stage
from dramaeval.distributed import rank_variables as ranks
from dramaeval.errors import UserFacingError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: the rank of this process, from 0.
        count: the number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes files and prints messages."""
        return self.rank == 0

    def broadcast(self, value: T) -> T:
        """The value of rank 0; the values of the other ranks are ignored."""
        if self.count == 1:
            return value
        import torch.distributed

        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """The values of all ranks in their order; every rank gets the list."""
        if self.count == 1:
            return [value]
        import torch.distributed

        values: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Wait until all ranks have called this."""
        if self.count > 1:
            import torch.distributed

            torch.distributed.barrier()

    def from_rank_zero(self, work: Callable[[], T]) -> T:
        """The result of a function that only rank 0 calls; if it raises a `UserFacingError`, every rank raises it."""
        value: T | None = None
        error: UserFacingError | None = None
        if self.is_rank_zero:
            try:
                value = work()
            except UserFacingError as raised:
                error = raised
        value, error = self.broadcast((value, error))
        if error is not None:
            raise error
        return cast(T, value)

    def on_rank_zero(self, work: Callable[[], None]) -> None:
        """Call a function on rank 0 while the other ranks wait."""
        if self.is_rank_zero:
            work()
        self.barrier()


#: A run of one process.
SINGLE_PROCESS = Processes()


def started_by_launcher() -> bool:
    """Whether this process was started as a member of a process group."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def process_count(configured: int) -> int:
    """The number of processes of the run: the launcher's WORLD_SIZE, or without a launcher ``configured``."""
    return int(os.environ["WORLD_SIZE"]) if started_by_launcher() else configured


def launched_as_rank_zero() -> bool:
    """Whether the environment gives this process rank 0, or no rank."""
    return os.environ.get("RANK", "0") == "0"


def processes_here(count: int) -> int:
    """The number of a run's ``count`` processes on this machine: LOCAL_WORLD_SIZE, or all of them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count)) if started_by_launcher() else count


def needs_process_group(config: DictConfig, count: int | None = None) -> bool:
    """Whether a run needs PyTorch's process group: for several processes, or for DeepSpeed in one process.

    Args:
        count: the number of processes; None for the number in the configuration.
    """
    trains_with_zero = config.zero is not None and Stage.train in config.stages
    return (config.processes if count is None else count) > 1 or trains_with_zero


@contextmanager
def process_group() -> Iterator[Processes]:
    """Join the process group that a launcher has set up; yields `SINGLE_PROCESS` without one.

    The group is always destroyed at the end, since a member that exits waits for the other members forever.
    """
    if not started_by_launcher():
        yield SINGLE_PROCESS
        return
    import torch.distributed

    try:
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not torch.distributed.is_initialized():
            ranks.join("cpu:gloo,cuda:nccl" if cuda else "gloo")
        yield Processes(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
