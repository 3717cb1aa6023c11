"""Checks the environment variables that give a process its rank, and joins the process group.

torchrun, SLURM (`dramaeval.distributed.slurm_rendezvous`) and `dramaeval.distributed.spawn` set RANK, WORLD_SIZE,
LOCAL_RANK, MASTER_ADDR and MASTER_PORT. If these variables are left over in a shell from another job, a run waits
for processes that are never started.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from dramaeval.errors import UserFacingError

log = logging.getLogger(__name__)

#: Seconds for which the processes of a run wait for each other at the start.
TIME_LIMIT = 600.0
#: Seconds before the first message of a waiting process, and between two further messages.
FIRST_MESSAGE, NEXT_MESSAGE = 5.0, 30.0

NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
#: Set by torchrun, which then runs the store of the rendezvous.
AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
#: The variables in which mpirun gives the number of processes.
_MPI_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
#: The smallest valid values of variables that hold a number.
_SMALLEST = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": 1}


class RendezvousError(UserFacingError):
    """The processes of a run could not form a process group."""


def rank_problems(environment: Mapping[str, str]) -> list[str]:
    """The contradictions between the variables that give this process its rank, as a list of at most one problem."""
    named = [name for name in (*NEEDED, "LOCAL_WORLD_SIZE") if name in environment]
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"} & set(named):
        return _other_launchers(environment)
    if (wrong := _contradiction(environment)) is None:
        return []
    shown = " ".join(f"{name}={environment[name]}" for name in named)
    return [
        f"{shown} in the environment: {wrong}. If they are left over from another job, remove them: unset "
        f"{' '.join(named)}. Several processes are started with processes=N or torchrun."
    ]


def _contradiction(environment: Mapping[str, str]) -> str | None:
    if missing := [name for name in NEEDED if not environment.get(name)]:
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    numbers = {}
    for name, smallest in _SMALLEST.items():
        if name not in environment:
            continue
        with suppress(ValueError):
            numbers[name] = int(environment[name])
        if numbers.get(name, -1) < smallest:
            return f"{name} must be a whole number of {smallest} or more"
    rank, count, local_rank = (numbers[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    here = numbers.get("LOCAL_WORLD_SIZE", count)
    if rank >= count:
        return f"the ranks of {count} {_processes(count)} end at {count - 1}"
    if here > count:
        return "LOCAL_WORLD_SIZE cannot be above WORLD_SIZE"
    if local_rank >= here or local_rank > rank:
        return f"LOCAL_RANK does not fit RANK and the {here} {_processes(here)} of this machine"
    if numbers["MASTER_PORT"] > 65535:
        return "MASTER_PORT must be a port, 1 to 65535"
    return None


def _processes(count: int) -> str:
    return "process" if count == 1 else "processes"


def _other_launchers(environment: Mapping[str, str]) -> list[str]:
    """The problem if another launcher has started several copies of this command, which would all do the same run."""
    for name in _MPI_SIZES:
        if environment.get(name, "1") not in ("", "0", "1"):
            return [
                f"{name}={environment[name]} in the environment: mpirun has started several copies of this "
                "command, and each would do the whole run. Start one with processes=N, or use torchrun; if "
                f"the variable is left over from another job: unset {name}."
            ]
    copies, number = environment.get("SLURM_STEP_NUM_TASKS", "1"), environment.get("SLURM_PROCID")
    if copies not in ("", "1") and number not in (None, "", "0"):
        return [
            f"srun has started {copies} copies of this command, and each would do the whole run. Start one "
            "(srun -n 1) with processes=N, or let launch.py submit the job: -m hydra/launcher=slurm."
        ]
    return []


def is_foreign(name: str) -> bool:
    """Whether a variable belongs to a launcher whose ranks accelerate uses and dramaeval ignores."""
    prefixes = ("OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "MPI_LOCAL")
    return name.startswith(prefixes) or name in ("PMI_RANK", "PMI_SIZE")


def join(backend: str, time_limit: float = TIME_LIMIT) -> None:
    """Join the process group that the environment describes, and report what this process waits for.

    Args:
        backend: the backend of `torch.distributed`.
        time_limit: seconds to wait for the other processes.

    Raises:
        RendezvousError: a process is missing after the time limit, or another run uses the same address.
    """
    import torch.distributed

    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    waiting = Waiting(rank, count, address, time_limit)
    # torchrun runs the store itself; without torchrun, process 0 runs it.
    runs_store = rank == 0 and os.environ.get(AGENT_STORE) != "True"
    if not runs_store:
        waiting.for_address()
    try:
        # The prefix separates this attempt from earlier attempts of torchrun, which used the same store.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        limit = timedelta(seconds=max(waiting.left, 1))
        store: Any = torch.distributed.TCPStore(
            *address, count, runs_store, limit, wait_for_workers=False
        )
        store = torch.distributed.PrefixStore(f"dramaeval/{attempt}", store)
        waiting.for_processes(store)
    except torch.distributed.DistError as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RendezvousError(f"{waiting.about}: {reason}") from None
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=count)


class Waiting:
    """Waits for the other processes, with messages during a long wait and an error after the time limit.

    Args:
        address: host and port of the rendezvous.
        time_limit: the time limit in seconds.
    """

    def __init__(self, rank: int, count: int, address: tuple[str, int], time_limit: float) -> None:
        self.rank, self.count, self.address = rank, count, address
        self.time_limit = time_limit
        self.end = time.monotonic() + time_limit
        self._next = time.monotonic() + FIRST_MESSAGE

    @property
    def about(self) -> str:
        """The process and the address, for messages."""
        host, port = self.address
        return f"Process {self.rank} of {self.count} at {host}:{port}"

    @property
    def left(self) -> float:
        """Seconds until the time limit."""
        return self.end - time.monotonic()

    def for_address(self) -> None:
        """Wait until a process listens at the address.

        Raises:
            RendezvousError: no process listens there before the time limit.
        """
        while True:
            try:
                socket.create_connection(
                    self.address, timeout=max(min(self.left, 10.0), 0.1)
                ).close()
            except OSError as error:
                reason = f"no process listens there yet ({error.strerror or error})"
                self._pause(partial(str, reason))
            else:
                return

    def for_processes(self, store: Any) -> None:
        """Wait until all processes have arrived.

        Args:
            store: the store that the processes share.

        Raises:
            RendezvousError: a process is missing, or two have the same rank.
        """
        if store.add(f"rank {self.rank}", 1) > 1:
            raise RendezvousError(
                f"{self.about}: another process of the same rank is there already. Two runs share the address: "
                "set another MASTER_PORT; if RANK, WORLD_SIZE and LOCAL_RANK are left over in the shell: "
                "unset RANK WORLD_SIZE LOCAL_RANK."
            )
        while not store.check([f"rank {rank}" for rank in range(self.count)]):
            self._pause(lambda: self._missing(store))

    def _missing(self, store: Any) -> str:
        missing = [rank for rank in range(self.count) if not store.check([f"rank {rank}"])]
        named = ", ".join(map(str, missing[:10])) + (" …" if len(missing) > 10 else "")
        return (
            f"{self.count - len(missing)} of {self.count} processes have arrived, "
            f"{_processes(len(missing))} {named} {'is' if len(missing) == 1 else 'are'} missing"
        )

    def _pause(self, reason: Callable[[], str]) -> None:
        """Sleep for a moment; at intervals report what is missing, and raise RendezvousError after the time limit."""
        if self.left <= 0:
            raise RendezvousError(
                f"{self.about} gave up after {self.time_limit:.0f} s: {reason()}. Start all processes with one "
                "command (processes=N or torchrun); if RANK and WORLD_SIZE are left over in the shell: "
                "unset RANK WORLD_SIZE LOCAL_RANK."
            )
        now = time.monotonic()
        if now >= self._next:
            self._next = now + NEXT_MESSAGE
            log.warning("%s waits: %s; %.0f s left.", self.about, reason(), self.left)
        time.sleep(min(0.1, max(self.left, 0.0)))
