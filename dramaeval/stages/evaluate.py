"""The stage ``evaluate``: scores the held-out splits and measures the agreement with people."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.problems import near_match_hint
from dramaeval.config.schema import EvaluationConfig, Stage
from dramaeval.config.task_parts import files_of
from dramaeval.config.task_schema import held_out_splits
from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.manifest import write_listed
from dramaeval.data.shared_content import group_of
from dramaeval.evaluation.agreement_table import agreement_text, print_agreement
from dramaeval.evaluation.predictions import PHASES
from dramaeval.evaluation.published_convention import unknown_scales
from dramaeval.evaluation.slices import DIVISIONS
from dramaeval.stages.context import RunContext
from dramaeval.stages.metrics_file import (
    about,
    api_usage,
    evidence,
    further_tables,
    objective_of,
    pair_evidence,
    phase_figures,
)
from dramaeval.stages.predictions_file import PhasePredictions, is_intact, read_phase
from dramaeval.stages.progress import Progress
from dramaeval.stages.thought_cost import generates_thoughts
from dramaeval.training.training_effect import VISIBLE, largest_change

log = logging.getLogger(__name__)


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    problems = [
        f"evaluation.metrics: {node} is not a metric: give each as a mapping with the _target_ of its class, like "
        "[{_target_: dramaeval.evaluation.metrics.pearson.Pearson}]. The standard ones are always there."
        for node in config.evaluation.metrics
        if not (OmegaConf.is_dict(node) and node.get("_target_"))
    ]
    if Stage.evaluate in config.stages and not held_out_splits(files_of(config.task)):
        problems.append(
            "Neither task.data.val nor task.data.test is set, but stages has evaluate: give a JSONL file."
        )
    return problems


def check_records(context: RunContext) -> list[str]:
    """Problems of the keys by which records are sliced, grouped or weighted, and of the published convention.

    At least one record must have each of these keys, except those of the default slices and groups.
    """
    defaults, evaluation = EvaluationConfig(), context.config.evaluation
    keys = [
        ("evaluation.slices", name)
        for name in evaluation.slices
        if name not in (*defaults.slices, *DIVISIONS)
    ]
    if evaluation.group_by != defaults.group_by:
        keys.append(("evaluation.group_by", evaluation.group_by))
    records = [record for split in context.splits.held_out for record in context.splits[split]]
    known = sorted({name for record in records for name in record.fields})
    problems = [
        f"{key}: no held-out record has the key {name}; there are {', '.join(known)}.{near_match_hint(name, known)}"
        for key, name in keys
        if records and not any(group_of(record, name) for record in records)
    ]
    scales = {dimension.key: dimension.scale for dimension in context.task.rated_dimensions}
    if evaluation.convention and (unknown := unknown_scales(scales)):
        problems.append(
            f"evaluation.convention={evaluation.convention}: the published scripts count ratings from 1 to 5 and pass/fail, "
            f"but {', '.join(unknown)} have another scale: leave the convention out, or ask for other task.dimensions."
        )
    train = context.splits["train"]
    problems += thought_problems(context)
    for task in context.task.parts.values() or [context.task]:
        key = task.confidence
        if key and train and not any(record.given(key) for record in train):
            problems.append(
                f"task.confidence={key}: no training record has the raters' confidence under that key."
            )
    return problems


def thought_problems(context: RunContext) -> list[str]:
    """The problem of ``evaluation.keep_thoughts`` for a judge that generates no thoughts."""
    if not context.config.evaluation.keep_thoughts or generates_thoughts(context.task):
        return []
    return [
        "evaluation.keep_thoughts=true, but the judge generates no thoughts: choose a task with thoughts, such as "
        "task=role_emotion, with task.thought_in_scoring=generate, or leave keep_thoughts out."
    ]


def run(context: RunContext) -> None:
    """Score the held-out splits in the current phase, unless the predictions of the phase are complete."""
    phase = context.phase
    context.phases.append(phase)
    file, processes = context.folder.predictions(phase), context.processes
    if processes.from_rank_zero(lambda: is_intact(file)):
        return
    lines = []
    for split in context.splits.held_out:
        records = context.splits[split]
        progress = Progress(f"scoring {split} ({PHASES[phase]})", len(records), "clips")
        predictions = context.score(records, progress)
        progress.finish()
        lines += [{"split": split, "phase": phase, **p.to_json()} for p in predictions]
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    processes.on_rank_zero(lambda: write_listed(file, text))


def measure(context: RunContext) -> float | None:
    """Write ``metrics.json`` and ``report.html`` from the predictions, and print the agreement.

    Returns:
        the figure that a sweep maximises; see `objective_of`.
    """
    phases = {phase: read_phase(context.folder.predictions(phase)) for phase in context.phases}
    if context.trains:
        _warn_without_change(phases)
    figures = phase_figures(context, phases)
    rated = {split: figures[split] for split in held_out_splits(figures)}
    metrics = figures
    if context.processes.is_rank_zero:
        metrics = {
            **figures,
            **(evidence(context, phases) if rated else {}),
            **pair_evidence(context.config, phases),
            **api_usage(context),
            "about": about(context),
        }
        write_json_atomic(context.folder.metrics, metrics, listed=True)
        if context.config.evaluation.html and figures:
            # Plots and templates take time to import.
            from dramaeval.stages.report_html import write_reports

            write_reports(context, metrics, phases)
    context.loggers.report(rated)
    _show_agreement(context, rated)
    for text in further_tables(metrics):
        log.info("%s", text)
    log.info("Everything is in %s", context.folder.path)
    return objective_of(figures, context.phases[-1])


def _warn_without_change(phases: Mapping[str, PhasePredictions]) -> None:
    """Log a warning if the training has changed no score visibly."""
    if not {"zero_shot", "final"} <= set(phases):
        return
    before, after = phases["zero_shot"].ratings, phases["final"].ratings
    changes = [largest_change(before.get(split, []), after[split]) for split in after]
    largest = max((change for change in changes if change is not None), default=None)
    if largest is not None and largest < VISIBLE:
        log.warning(
            "Training changed no expected score by more than %.2g of the scale. The largest learning rate and gradient "
            "norm are logged after the training: raise trainer.args.learning_rate or train longer.",
            largest,
        )


def _show_agreement(context: RunContext, rated: Mapping[str, Any]) -> None:
    """Show the agreement as tables, without colour in the log and with colour on the terminal."""
    titles = {dimension.key: dimension.heading for dimension in context.task.dimensions}
    for split, figures in rated.items():
        text = agreement_text(figures, heading=split, titles=titles)
        log.info("\n%s", text, extra={"only_in_file": True})
        if context.processes.is_rank_zero:
            print_agreement(figures, heading=split, titles=titles)
