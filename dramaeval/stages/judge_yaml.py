"""Writes ``judge.yaml`` beside the weights of a run, and logs which judge is in ``checkpoint``."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from dramaeval.config.judge_file import judge_text, read_judge
from dramaeval.config.problems import ConfigError
from dramaeval.config.weights import JUDGE
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.logmel import VERSION
from dramaeval.stages.builders import trained_raters
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import saved_form

log = logging.getLogger(__name__)


def write_judge_file(context: RunContext, folder: Path) -> None:
    """Write ``judge.yaml`` for the judge that a run has trained, in the folder of its weights."""
    earlier = read_judge(context.checkpoint.folder) if context.checkpoint else None
    trained = trained_raters(context.task, context.splits["train"]) if context.trains else set()
    text = judge_text(
        saved_form(context.config),
        base=str(context.base or context.family.path),
        front_end=VERSION,
        examples=_examples(context),
        # The training continues that of the judge in ``checkpoint``.
        raters=trained | set((earlier and earlier.raters) or ()),
    )
    write_text_atomic(folder / JUDGE, text)


def export_judge_file(context: RunContext, source: Path, folder: Path) -> None:
    """Write ``judge.yaml`` of an exported judge: a copy of the source's file, unless the run's settings replace it."""
    if (source / JUDGE).is_file() and not context.config.checkpoint_override:
        shutil.copyfile(source / JUDGE, folder / JUDGE)
    else:
        write_judge_file(context, folder)


def _examples(context: RunContext) -> str | None:
    """The hash of the training records from which the task takes examples; None without examples."""
    training = context.made_from.splits.get("train") if context.task.shots else None
    return training["hash"] if training else None


def check_examples(context: RunContext) -> None:
    """Check that a few-shot judge in ``checkpoint`` takes its examples from the same records as in its training.

    Raises:
        ConfigError: the records differ.
    """
    start = context.checkpoint
    if start is None or context.trains or context.config.checkpoint_override:
        return
    judge = read_judge(start.folder)
    if judge is None or judge.examples is None or not context.task.shots:
        return
    if judge.examples != _examples(context):
        files = ", ".join(context.made_from.splits["train"]["files"])
        raise ConfigError(
            f"{judge.file}: the judge shows examples from the records of its training, and {files} holds other "
            "records. Give the file of its training as task.data.train=FILE, or set checkpoint_override=true to take "
            "the examples from these records."
        )


def log_judge(context: RunContext) -> None:
    """Log which judge is in ``checkpoint``, and whether its training continues; only rank 0 calls this."""
    start = context.checkpoint
    if start is None:
        return
    if context.trains:
        log.info(
            "Training continues from the %s in %s: from its weights, with a new optimizer and a new schedule.",
            "adapter" if start.adapter else "model",
            start.folder,
        )
    task = context.task
    described = f"task {task.name}, rubric {task.rubric.name} {task.rubric.version}"
    if read_judge(start.folder) is None:
        log.warning(
            "%s has no judge.yaml, so its rubric and prompt are unknown. The settings are used: %s.",
            start.folder,
            described,
        )
        return
    dimensions = ", ".join(dimension.key for dimension in task.dimensions)
    log.info("The judge in %s: %s (%s).", start.folder, described, dimensions)
    if context.config.checkpoint_override:
        log.info("Your settings replace those of the judge (checkpoint_override=true).")
