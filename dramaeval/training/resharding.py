"""Reads DeepSpeed checkpoints with another number of processes than wrote them.

ZeRO splits the optimizer's states over the processes, and DeepSpeed reads a checkpoint only with the same number of
processes. Its universal format (Lian et al. 2024, arXiv 2406.18820) has one file per weight, which any number of
processes can read. This module converts a checkpoint to this format, in addition to its files, if the number differs.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

from dramaeval.compat.deepspeed import universal_checkpoints, write_universal
from dramaeval.data.manifest import damage_in, seal
from dramaeval.distributed.processes import Processes

log = logging.getLogger(__name__)

_SUFFIX = "_universal"
#: DeepSpeed writes this file after all other files of the universal format.
_DONE = "latest_universal"


def any_number_of_processes(processes: Processes) -> AbstractContextManager[None]:
    """Let the trainer read checkpoints from any number of processes in this block."""

    def join_if_needed(checkpoint: Path) -> bool:
        parts = count_parts(checkpoint)
        if parts in (0, processes.count):
            return False
        log.info("%s was split over %d processes; joining it.", checkpoint.name, parts)
        processes.on_rank_zero(lambda: join_parts(checkpoint))
        return True

    return universal_checkpoints(join_if_needed)


def count_parts(checkpoint: Path) -> int:
    """The number of processes over which a checkpoint's optimizer states are split; 0 without DeepSpeed's files."""
    latest = checkpoint / "latest"
    if not latest.is_file():
        return 0
    return len(list((checkpoint / latest.read_text().strip()).glob("*_optim_states.pt")))


def join_parts(checkpoint: Path) -> None:
    """Write the universal format into a checkpoint, unless it exists and is undamaged."""
    done = checkpoint / _DONE
    if done.is_file() and not damage_in(checkpoint / done.read_text().strip()):
        return
    source = checkpoint / (checkpoint / "latest").read_text().strip()
    target = source.with_name(source.name + _SUFFIX)
    shutil.rmtree(target, ignore_errors=True)
    write_universal(source, target)
    seal(target)
