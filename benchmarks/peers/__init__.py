"""Peers that bring an environment of their own: ms-swift and LLaMA-Factory, through their own commands.

    python -m benchmarks.peers install [ms-swift] [llama-factory] [--folder outputs/benchmarks]
    python -m benchmarks.peers list

`install` makes a virtual environment in the folder's ``environments/NAME`` and installs exactly the
versions below (about 2 GB and five minutes each). Where one is there, the sections take it as one more
contender.

A turn writes the rows in the peer's own format and starts its own command. The clock is read when a line of
the command's output arrives: both print a line with the loss at the end of every optimizer step, and a step's
time is that from one such line to the next, its data included. Start-up and the first step are left out and
the median is taken, as `training.StepTimes` does. Scoring is timed in the same way, from one update of the
progress bar to the next, a batch being the ten questions of one clip; neither has a setting for the least
number of tokens, so an answer may end sooner than after eight.

The rows are those of the plain Trainer, in its order. What the peers do differently is their own, for example
that both leave the audio tower's sinusoids trainable in a full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.llama_factory import Factory
from benchmarks.peers.ms_swift import Swift
from benchmarks.peers.peer import Peer

KINDS: tuple[type[Peer], ...] = (Swift, Factory)


def missing(folder: Path) -> str:
    """What a row has to say of peers that are not there; empty where all are."""
    names = [kind.name for kind in KINDS if not kind(folder, Path()).installed]
    return f"{' and '.join(names)} not installed" if names else ""


def installed(folder: Path, model: Path) -> list[Peer]:
    """The peers whose environments are there."""
    return [one for kind in KINDS if (one := kind(folder, model)).installed]


def in_order(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first rows in the order in which transformers' Trainer takes them with its own seed."""
    import torch

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(42))
    return [rows[at] for at in order[:count].tolist()]
