"""The stage ``export``: writes the judge as an adapter or as a merged full model, for use with other programs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from dramaeval.compat.bitsandbytes import dequantise
from dramaeval.compat.peft import RANK_SCHEDULE
from dramaeval.compat.safetensors import follow_umask
from dramaeval.config.keys import is_a
from dramaeval.config.schema import Stage
from dramaeval.config.weights import ADAPTER
from dramaeval.data.atomic_files import is_complete, write_folder_atomic
from dramaeval.data.fingerprint import RECORDS
from dramaeval.distributed.zero import zero_stage
from dramaeval.models.adapter_settings import unmergeable
from dramaeval.models.adapters import load_adapter
from dramaeval.models.checkpoint import Checkpoint, check_whole, find_checkpoint
from dramaeval.stages import hub_upload
from dramaeval.stages.context import RunContext
from dramaeval.stages.judge_yaml import export_judge_file
from dramaeval.stages.model_card import NAME as CARD
from dramaeval.stages.model_card import is_ours, write_card

log = logging.getLogger(__name__)

#: Files that only training needs.
LEFT_OUT = ("checkpoint-*", "training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt",
            "rng_state*", "trainer_state.json", RANK_SCHEDULE, RECORDS)  # fmt: skip


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    return [*hub_upload.problems(config), *_export_problems(config)]


def _export_problems(config: DictConfig) -> list[str]:
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
            "export.merge=true needs complete weights, but zero=zero3 splits them: export in a separate run, "
            "stages=[export] export.merge=true zero=none checkpoint=RUN."
        ]
    if merges and is_a(config.peft, "PromptLearningConfig"):
        return [unmergeable(config.peft["_target_"].rpartition(".")[2])]
    return []


def run(context: RunContext) -> None:
    """Write ``export/`` on rank 0 unless it is complete, and publish it if the settings say so."""
    context.processes.on_rank_zero(lambda: _export(context))
    if context.config.export.push_to_hub:
        context.processes.on_rank_zero(lambda: _publish(context))


def _publish(context: RunContext) -> None:
    folder, checkpoint = context.folder, context.checkpoint
    metrics = folder.metrics
    if not folder.model.is_dir() and checkpoint is not None:
        metrics = checkpoint.folder.parent / metrics.name
    hub_upload.publish(context.config, folder.path, folder.export, metrics)


def _export(context: RunContext) -> None:
    folder = context.folder
    trained_here = folder.model.is_dir()
    source = find_checkpoint(str(folder.model)) if trained_here else context.checkpoint
    if source is None:
        return
    merges = context.config.export.merge and source.adapter
    # An earlier start may have had another export.merge.
    is_adapter = (folder.export / ADAPTER).is_file()
    if is_complete(folder.export) and is_adapter == (source.adapter and not merges):
        return
    context.model = None  # free memory for the exported judge
    check_whole(source.folder)
    write_folder_atomic(
        folder.export,
        lambda unfinished: export(
            source,
            unfinished,
            run=folder.path if trained_here else None,
            save_merged=partial(_save_merged, context, source) if merges else None,
            save_judge=partial(export_judge_file, context, source.folder),
        ),
    )
    log.info("Exported to %s", folder.export)


def export(
    source: Checkpoint,
    folder: Path,
    *,
    run: Path | None = None,
    save_merged: Callable[[Path], None] | None = None,
    save_judge: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a judge as an adapter or as a plain full model, with its processor and card.

    Args:
        source: the judge.
        folder: the empty target folder.
        run: the folder of the run that trained the judge; None for the folder above ``source``, if it is a run's.
        save_merged: a function that saves a full model with the adapter merged into it; None: the judge is copied.
        save_judge: a function that writes ``judge.yaml``.
    """
    if save_merged:
        save_merged(folder)
    else:
        ignore = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(source.folder, folder, dirs_exist_ok=True, ignore=ignore)
    save_judge(folder)
    above = source.folder.parent
    run = run or (above if (above / "config.yaml").is_file() else None)
    if run or not is_ours(source.folder / CARD):
        write_card(folder, run, adapter=source.folder, merged=save_merged is not None)
    else:
        shutil.copy(source.folder / CARD, folder / CARD)
    # Copies have the permissions of the source files.
    follow_umask([folder, *folder.rglob("*")])


def _save_merged(context: RunContext, adapter: Checkpoint, folder: Path) -> None:
    """Save a plain full model that gives the same answers as the adapter on its base; a quantised base is dequantised."""
    model = context.family.load(context.device, context.base, context.dtype, context.quantization)
    if context.quantization is not None:
        model = dequantise(model, context.dtype)
    model = load_adapter(model, adapter.folder, trainable=False).merge_and_unload(safe_merge=True)
    model.save_pretrained(folder)
    context.family.processor(context.base).save_pretrained(folder)
    log.info("Merged %s into a full model.", adapter.folder)
