"""DeepSpeed checkpoints under another number of processes than wrote them.

ZeRO splits the optimizer's states over the processes, and DeepSpeed reads a checkpoint back with the same
number alone. Its universal format (Lian et al. 2024, arXiv 2406.18820) has a file a weight instead, which any
number can read; a checkpoint that was split otherwise is brought into it first, beside its own files.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dramaeval.data.manifest import damage_in, seal
from dramaeval.distributed.processes import Processes

log = logging.getLogger(__name__)

_SUFFIX = "_universal"
_DONE = "latest_universal"


@contextlib.contextmanager
def resharded_checkpoints(processes: Processes) -> Iterator[None]:
    """In here the trainer reads checkpoints back whatever the number of processes that wrote them.

    transformers offers no place to say so, so the function by which it loads them, to resume and to go back
    to the best step, is replaced while a training runs.
    """
    from transformers import trainer

    plain = trainer.deepspeed_load_checkpoint

    def load(engine: Any, checkpoint: str, load_module_strict: bool = True) -> None:
        wrote = parts(Path(checkpoint))
        other = wrote not in (0, processes.count)
        if other:
            log.info("%s was split over %d processes; joining it.", Path(checkpoint).name, wrote)
            processes.on_rank_zero(lambda: join(Path(checkpoint)))
        engine._config.load_universal_checkpoint = other
        decays = [group["weight_decay"] for group in engine.optimizer.param_groups]
        plain(engine, checkpoint, load_module_strict=load_module_strict)
        if other:
            _part_groups(engine.optimizer, decays)

    trainer.deepspeed_load_checkpoint = load
    try:
        yield
    finally:
        trainer.deepspeed_load_checkpoint = plain


def _part_groups(optimizer: Any, decays: Sequence[float]) -> None:
    """Undo what DeepSpeed 0.19 makes one for all groups when it reads joined states at stage 3.

    The weight decay of the first group goes to the others, norms and biases too; and they share one tensor that
    counts their steps, so that each step is counted once a group.
    """
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay
    for state in optimizer.optimizer.state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()


def parts(checkpoint: Path) -> int:
    """Over how many processes a checkpoint's optimizer states are split; 0 where it has none of DeepSpeed's."""
    named = (checkpoint / "latest").read_text().strip() if (checkpoint / "latest").is_file() else ""
    return len(list((checkpoint / named).glob("*_optim_states.pt"))) if named else 0


def join(checkpoint: Path) -> None:
    """Put the universal format beside a checkpoint's own files, unless it is there and whole."""
    named = checkpoint / _DONE
    if named.is_file() and not damage_in(checkpoint / named.read_text().strip()):
        return
    from deepspeed.checkpoint import ds_to_universal

    own = checkpoint / (checkpoint / "latest").read_text().strip()
    joined = own.with_name(own.name + _SUFFIX)
    shutil.rmtree(joined, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        # Writes the mark that it is done at its end.
        ds_to_universal.main(
            Namespace(
                input_folder=str(own),
                output_folder=str(joined),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )
    seal(joined)
