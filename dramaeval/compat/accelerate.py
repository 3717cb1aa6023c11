"""Private parts of accelerate."""

from __future__ import annotations

import os
from typing import Any


def set_process_group(args: Any) -> None:
    """Correct accelerate's state under DeepSpeed on a CPU, where it counts one process.

    Reaches: the shared attributes of ``args.distributed_state`` (`accelerate.PartialState`).
    Why: accelerate derives rank and number of processes from a GPU back end. Without one every process has rank
    0, reads the same clips and writes the same files.
    Since: accelerate 1.15.
    Remove when: `PartialState` reads them from a gloo group under DeepSpeed.
    """
    import torch.distributed

    state = args.distributed_state
    state.backend = torch.distributed.get_backend()
    state.num_processes = torch.distributed.get_world_size()
    state.process_index = torch.distributed.get_rank()
    state.local_process_index = int(os.environ.get("LOCAL_RANK", "0"))
