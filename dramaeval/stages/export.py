"""The stage ``export``: writes the judge for use elsewhere, as an adapter or merged into a plain full model."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dramaeval.compat.bitsandbytes import dequantise
from dramaeval.compat.peft import RANK_SCHEDULE
from dramaeval.compat.safetensors import follow_umask
from dramaeval.config.keys import is_a
from dramaeval.config.schema import Stage
from dramaeval.data.atomic_files import is_complete, write_folder_atomic
from dramaeval.distributed.zero import zero_stage
from dramaeval.models.adapter_settings import unmergeable
from dramaeval.models.adapters import load_adapter
from dramaeval.models.checkpoint import Checkpoint, check_whole, find_checkpoint
from dramaeval.models.families.base import Family
from dramaeval.stages.context import RunContext
from dramaeval.stages.model_card import NAME as CARD
from dramaeval.stages.model_card import is_ours, write_card

log = logging.getLogger(__name__)

#: Files that only training needs.
LEFT_OUT = ("checkpoint-*", "training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt",
            "rng_state*", "trainer_state.json", RANK_SCHEDULE)  # fmt: skip


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    merges = config.export.merge
    if Stage.export not in config.stages:
        return ["export.merge=true does nothing here: add export to stages."] if merges else []
    if Stage.train not in config.stages:
        if config.checkpoint is not None:
            return []
        return [
            "stages has export, but there is nothing to export: give checkpoint=RUN, or add train."
        ]
    if merges and config.peft and zero_stage(config.zero) == 3:
        return [
            "export.merge=true needs complete weights, but zero=zero3 splits them: export in a run of its own, "
            "stages=[export] export.merge=true zero=none checkpoint=RUN."
        ]
    if merges and is_a(config.peft, "PromptLearningConfig"):
        return [unmergeable(config.peft["_target_"].rpartition(".")[2])]
    return []


def run(context: RunContext) -> None:
    """Write ``export/`` on rank 0, unless it is complete."""
    context.processes.on_rank_zero(lambda: _export(context))


def _export(context: RunContext) -> None:
    folder = context.folder
    if is_complete(folder.export):
        return
    context.model = None  # frees memory for the exported judge
    trained_here = folder.model.is_dir()
    source = find_checkpoint(str(folder.model)) if trained_here else context.checkpoint
    if source is None:
        return
    check_whole(source.folder)
    write_folder_atomic(
        folder.export,
        lambda unfinished: export(
            context.family,
            context.base,
            source,
            unfinished,
            merges=context.config.export.merge,
            run=folder.path if trained_here else None,
            device=context.device,
            dtype=context.dtype,
            quantization=context.quantization,
        ),
    )
    log.info("Exported to %s", folder.export)


def export(
    family: Family,
    base: Path | None,
    source: Checkpoint,
    folder: Path,
    *,
    merges: bool,
    run: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    quantization: Any | None,
) -> None:
    """Write a judge as an adapter or as a plain full model, with its processor and card.

    Args:
        family: loads the base.
        base: a folder with a full model, or None for the family's own.
        source: the judge; its method has been checked to be mergeable if ``merges``.
        folder: the empty target.
        merges: whether an adapter is merged into the weights; a full model is copied.
        run: the run folder that trained it just now; None to look beside ``source``.
        device: of the merging.
        dtype: of merged weights.
        quantization: of the base in training.
    """
    merged = merges and source.adapter
    if merged:
        model = merge(family, base, source, device, dtype, quantization)
        model.save_pretrained(folder)
        family.processor(base).save_pretrained(folder)
        log.info("Merged %s into a full model.", source.folder)
    else:
        ignore = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(source.folder, folder, dirs_exist_ok=True, ignore=ignore)
    beside = source.folder.parent if (source.folder.parent / "config.yaml").is_file() else None
    if run or beside or not is_ours(source.folder / CARD):
        write_card(folder, run or beside, adapter=source.folder, merged=merged)
    else:
        shutil.copy(source.folder / CARD, folder / CARD)
    # Copies have the permissions of their source.
    follow_umask([folder, *folder.rglob("*")])


def merge(
    family: Family,
    base: Path | None,
    adapter: Checkpoint,
    device: torch.device,
    dtype: torch.dtype,
    quantization: Any | None,
) -> Any:
    """A plain full model with the same answers as the adapter on its base; arguments as in `export`.

    A quantised base is dequantised first, to the weights that its packed ones stand for.
    """
    model = family.load(device, base, dtype, quantization)
    if quantization is not None:
        model = dequantise(model, dtype)
    return load_adapter(model, adapter.folder, trainable=False).merge_and_unload(safe_merge=True)
