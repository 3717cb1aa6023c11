"""Export: the judge for others to use, as an adapter or worked into a plain full model."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dramaeval.compat.bitsandbytes_layers import dequantise
from dramaeval.compat.peft_adalora import FILE as RANK_SCHEDULE
from dramaeval.compat.safetensors import follow_umask
from dramaeval.config.keys import is_a
from dramaeval.config.schema import Stage
from dramaeval.distributed.zero import zero_stage
from dramaeval.models.adapter_settings import unmergeable
from dramaeval.models.adapters import load_adapter
from dramaeval.models.checkpoint import Checkpoint
from dramaeval.models.families.base import Family
from dramaeval.stages.model_card import NAME as CARD
from dramaeval.stages.model_card import is_ours, write_card

log = logging.getLogger(__name__)

#: What belongs to training alone.
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


def copy_model(source: Path, folder: Path) -> None:
    """Copy an adapter or a full model as it was saved."""
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*LEFT_OUT))


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
        source: the judge; whether its method can be merged has been checked.
        folder: where it goes; new, or holding nothing else.
        merges: whether an adapter is worked into the weights; a full model is copied either way.
        run: the run folder that trained it just now; None to look beside ``source``.
        device: where it is computed.
        dtype: of merged weights.
        quantization: of the base, as it was in training.
    """
    merged = merges and source.adapter
    if merged:
        model = merge(family, base, source, device, dtype, quantization)
        model.save_pretrained(folder)
        family.processor(base).save_pretrained(folder)
        log.info("Merged %s into a full model.", source.folder)
    else:
        copy_model(source.folder, folder)
    beside = source.folder.parent if (source.folder.parent / "config.yaml").is_file() else None
    if run or beside:
        write_card(folder, run or beside, adapter=source.folder, merged=merged)
    elif is_ours(source.folder / CARD):
        shutil.copy(source.folder / CARD, folder / CARD)
    else:
        write_card(folder, None, adapter=source.folder, merged=merged)
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
    """A plain full model that answers as the adapter on its base does; see `export`.

    A quantised base is taken back to plain weights first, to those that its packed ones stand for.
    """
    model = family.load(device, base, dtype, quantization)
    if quantization is not None:
        model = dequantise(model, dtype)
    return load_adapter(model, adapter.folder, trainable=False).merge_and_unload(safe_merge=True)
