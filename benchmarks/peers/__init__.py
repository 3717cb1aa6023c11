"""Contenders with separate environments: ms-swift and LLaMA-Factory, started by their own commands.

    python -m benchmarks.peers install [ms-swift] [llama-factory] [--folder outputs/benchmarks]
    python -m benchmarks.peers list

`install` creates a virtual environment in ``environments/NAME`` of the folder and installs the pinned versions (about 2 GB
and five minutes each). Each installed peer takes part in the sections.

A turn writes the rows in the format of the peer and starts its command. Times are taken when lines of the command's
output arrive. Both print a line with the loss at the end of every optimizer step, and the time of a step is the time
between two such lines, loading of data included. The result is the median without the start and the first step, as in
`training.StepTimes`. The time of scoring is the time between two updates of the progress bar; a batch is the ten questions
of one clip. Neither peer has a setting for the smallest number of tokens, so an answer may have fewer than eight.

The rows and their order are those of the plain Trainer. Other differences are properties of the peers; for example, both
train the sinusoidal positions of the audio encoder when all weights are trained.
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
    """A note on the peers that are not installed; empty if all are."""
    names = [kind.name for kind in KINDS if not kind(folder, Path()).installed]
    return f"{' and '.join(names)} not installed" if names else ""


def installed(folder: Path, model: Path) -> list[Peer]:
    """The installed peers."""
    return [one for kind in KINDS if (one := kind(folder, model)).installed]


def in_order(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first rows in the order in which transformers' Trainer takes them with its own seed."""
    import torch

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(42))
    return [rows[at] for at in order[:count].tolist()]
