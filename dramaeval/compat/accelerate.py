"""Private parts of accelerate."""

from __future__ import annotations

import os
import sys
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


def import_deepspeed_only_for_zero() -> None:
    """Let models be unwrapped without an import of DeepSpeed in processes that do not use it.

    Reaches: ``is_deepspeed_available`` of `accelerate.utils.other`, which `extract_model_from_parallel` calls.
    Why: that function imports DeepSpeed, four seconds of the start of every training, to ask whether a model is a
    `DeepSpeedEngine`; without the import no model is one.
    Since: accelerate 1.15.
    Remove when: accelerate compares with `DeepSpeedEngine` only where DeepSpeed is imported.
    """
    import accelerate.utils.other

    accelerate.utils.other.is_deepspeed_available = lambda: sys.modules.get("deepspeed") is not None
