"""The passes over a generation, and their file in a checkpoint.

With several passes over a generation (``num_iterations``, ``steps_per_generation``), a checkpoint can be between two of
them. The completions are then saved, because the weights that sampled them have changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dramaeval.compat.safetensors import follow_umask
from dramaeval.distributed.processes import Processes

log = logging.getLogger(__name__)

#: The inputs of one pass: tensors with one row per completion, and scalars.
Pass = dict[str, Any]

#: Inputs that stay on the CPU: numbers of records, epochs and questions.
_ON_CPU = ("row", "epoch", "place")


class Generation:
    """The passes over the last generation of one process.

    Args:
        steps: number of passes that together have all completions once (``steps_per_generation``).
        iterations: number of repetitions of these passes (``num_iterations``).
    """

    def __init__(self, steps: int, iterations: int) -> None:
        self.steps = steps
        self.iterations = iterations
        self.taken = 0  # passes since training began
        self.passes: list[Pass] | None = None

    def next(self, generate: Callable[[], list[Pass]]) -> Pass:
        """The next pass; after the last pass over a generation, the first pass over a new one."""
        if self.passes is None or self._is_used_up:
            self.passes = generate()
        inputs = self.passes[self.taken % self.steps]
        self.taken += 1
        return inputs

    @property
    def _is_used_up(self) -> bool:
        return self.taken % (self.steps * self.iterations) == 0

    def save(self, checkpoint: Path, processes: Processes) -> None:
        """Write the passes of this process into a checkpoint, unless they are used up."""
        left = [] if self._is_used_up else self.passes or []
        tensors = {
            f"{number}.{key}": value.detach().cpu().contiguous().clone()
            for number, inputs in enumerate(left)
            for key, value in inputs.items()
        }
        tensors["step"] = torch.tensor(self.taken)
        file = _file(checkpoint, processes)
        checkpoint.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file)
        follow_umask([file])

    def load(self, checkpoint: Path, processes: Processes, device: torch.device) -> None:
        """Read the file of `save`; with another number of processes, the next pass is over a new generation."""
        file = _file(checkpoint, processes)
        if not file.is_file():
            log.warning(
                "%s was written by another number of processes: its completions are left out.",
                checkpoint,
            )
            self.taken, self.passes = 0, None
            return
        passes: dict[int, Pass] = {}
        with safe_open(file, framework="pt") as tensors:
            self.taken = int(tensors.get_tensor("step"))
            for name in list(tensors.keys()):
                number, dot, key = name.partition(".")
                if dot:
                    value = tensors.get_tensor(name)
                    value = value if key in _ON_CPU else value.to(device)
                    passes.setdefault(int(number), {})[key] = value
        self.passes = [passes[number] for number in sorted(passes)] or None


def divide(generation: Pass, sizes: list[int]) -> list[Pass]:
    """Divide a generation into passes; ``sizes`` are numbers of completions. Every pass has the scalars."""
    return [
        {key: value[end - size : end] if value.ndim else value for key, value in generation.items()}
        for size, end in zip(sizes, accumulate(sizes), strict=True)
    ]


def _file(checkpoint: Path, processes: Processes) -> Path:
    return checkpoint / f"generation-{processes.rank}-of-{processes.count}.safetensors"
