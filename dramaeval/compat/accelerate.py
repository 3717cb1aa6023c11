"""Private parts of accelerate."""

from __future__ import annotations

import os
import sys
from typing import Any


def set_process_group(args: Any) -> None:
    """Correct accelerate's state under DeepSpeed on a CPU, where accelerate counts one process.

    Reaches: the shared attributes of ``args.distributed_state`` (`accelerate.PartialState`).
    Why: accelerate derives the rank and the number of processes from a GPU back end. Without it, every process has
    rank 0, reads the same clips and writes the same files.
    Since: accelerate 1.15.
    Remove when: under DeepSpeed, `PartialState` reads both values from a gloo group.
    """
    import torch.distributed

    state = args.distributed_state
    state.backend = torch.distributed.get_backend()
    state.num_processes = torch.distributed.get_world_size()
    state.process_index = torch.distributed.get_rank()
    state.local_process_index = int(os.environ.get("LOCAL_RANK", "0"))


def import_deepspeed_only_for_zero() -> None:
    """Let accelerate unwrap models without importing DeepSpeed, in processes that do not use DeepSpeed.

    Reaches: ``is_deepspeed_available`` of `accelerate.utils.other`, which `extract_model_from_parallel` calls.
    Why: `extract_model_from_parallel` imports DeepSpeed to check whether a model is a `DeepSpeedEngine`. The import takes
    four seconds at the start of every training; while DeepSpeed is not imported, no model can be an engine.
    Since: accelerate 1.15.
    Remove when: accelerate compares with `DeepSpeedEngine` only if DeepSpeed is imported.
    """
    import accelerate.utils.other

    accelerate.utils.other.is_deepspeed_available = lambda: sys.modules.get("deepspeed") is not None
