"""What GRPO has generated and not used up, kept in a checkpoint beside the optimizer's state.

With several passes over a generation (``num_iterations``, ``steps_per_generation``) a checkpoint can fall
between two of them. The completions were drawn with weights that are gone by then, so they are kept themselves.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dramaeval.compat.safetensors import follow_umask
from dramaeval.distributed.processes import Processes

log = logging.getLogger(__name__)


def save_generation(
    checkpoint: Path,
    processes: Processes,
    step: int,
    passes: Sequence[Mapping[str, torch.Tensor]] | None,
) -> None:
    """Write this process's part.

    Args:
        checkpoint: its folder.
        processes: that train together.
        step: passes that were made since training began.
        passes: what is generated; None where all of it is used up.
    """
    tensors = {
        f"{number}.{key}": value.detach().cpu().contiguous().clone()
        for number, one in enumerate(passes or ())
        for key, value in one.items()
    }
    checkpoint.mkdir(parents=True, exist_ok=True)
    # A file of safetensors holds at least one tensor.
    tensors["step"] = torch.tensor(step)
    file = _file(checkpoint, processes)
    save_file(tensors, file)
    follow_umask([file])


def load_generation(
    checkpoint: Path, processes: Processes, device: torch.device
) -> tuple[int, list[dict[str, Any]] | None]:
    """The passes made, and what is generated and not used up.

    With another number of processes what was generated is left behind, and the run generates anew.
    """
    file = _file(checkpoint, processes)
    if not file.is_file():
        log.warning(
            "%s was written by another number of processes: what was generated is left behind.",
            checkpoint,
        )
        return 0, None
    found: dict[int, dict[str, Any]] = {}
    with safe_open(file, framework="pt") as kept:
        step = int(kept.get_tensor("step"))
        for name in list(kept.keys()):
            number, dot, key = name.partition(".")
            if dot:
                value = kept.get_tensor(name)
                found.setdefault(int(number), {})[key] = (
                    value if key in ("row", "epoch") else value.to(device)
                )
    return step, [found[number] for number in sorted(found)] or None


def _file(checkpoint: Path, processes: Processes) -> Path:
    return checkpoint / f"generation-{processes.rank}-of-{processes.count}.safetensors"
