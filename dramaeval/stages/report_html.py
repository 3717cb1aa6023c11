"""Writes the pages and tables of a run: ``report.html``, ``<name>.md`` and ``tables/*.csv``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dramaeval.config.task_schema import evidence_splits, held_out_splits
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.evaluation.report.choices_page import render_choices
from dramaeval.evaluation.report.markup import in_markdown
from dramaeval.evaluation.report.pairs_page import render_pairs
from dramaeval.evaluation.report.run_page import render
from dramaeval.evaluation.report.shared_context import Findings
from dramaeval.evaluation.report.tables import Table, comma_separated, markdown
from dramaeval.stages.context import RunContext
from dramaeval.stages.metrics_file import (
    OTHER_KINDS,
    Phases,
    compared_dimensions,
    evidence,
    pair_evidence,
)
from dramaeval.stages.predictions_file import PhasePredictions
from dramaeval.stages.run_folder import as_yaml

log = logging.getLogger(__name__)


def write_reports(context: RunContext, metrics: Mapping[str, Any], phases: Phases) -> None:
    """Write ``report.html``; for a mixture ``report.<task>.html`` for each task, since the tasks' scales differ.

    The page describes the first test set, or else val. Each further named test set has a separate page, such as
    ``report.test_wild.html``.

    Args:
        metrics: the content of metrics.json.
        phases: the predictions by phase.
    """
    if not context.task.parts:
        kind = "ratings" if held_out_splits(metrics) else _other_kind(metrics)
        _write_pages(context, context.folder.report, kind, metrics, phases, None)
        return
    for name, task in context.task.parts.items():
        figures = metrics["tasks"].get(name)
        if not figures:
            continue
        task_metrics: dict[str, Any] = {"about": metrics["about"]}
        task_phases = {phase: predictions.of_task(name) for phase, predictions in phases.items()}
        if task.rated_dimensions:
            kind = "ratings"
            task_metrics |= {split: dict(by_phase) for split, by_phase in figures.items()}
            task_metrics |= evidence(context, task_phases, name)
        else:
            # All splits and phases of a task have the same kinds of figures.
            kind = _other_kind(next(iter(next(iter(figures.values())).values())))
            task_metrics[kind] = {
                split: {phase: values[kind] for phase, values in by_phase.items()}
                for split, by_phase in figures.items()
            }
            task_metrics |= pair_evidence(context.config, task_phases)
        file = context.folder.report.with_suffix(f".{name}.html")
        _write_pages(context, file, kind, task_metrics, task_phases, name)


def _other_kind(figures: Mapping[str, Any]) -> str:
    """The kind of figures without a scale."""
    return next(kind for kind in OTHER_KINDS if kind in figures)


def _write_pages(
    context: RunContext,
    file: Path,
    kind: str,
    metrics: Mapping[str, Any],
    phases: Phases,
    part: str | None,
) -> None:
    """Write the page of the first test set, or else of val, and a page for each further named test set."""
    last = list(phases)[-1]
    names = phases[last].ratings if kind == "ratings" else metrics[kind]
    for number, split in enumerate(evidence_splits(names)):
        path = file.with_suffix(f".{split}.html") if number else file
        phase = last if kind == "ratings" else list(metrics[kind][split])[-1]
        write_text_atomic(path, _page(context, kind, metrics, phases[phase], split, part))
        log.info("Report: %s", path)


def _page(
    context: RunContext,
    kind: str,
    metrics: Mapping[str, Any],
    predictions: PhasePredictions,
    split: str,
    part: str | None,
) -> str:
    """The page of a split as HTML."""
    task, prefix = (context.task.parts[part], f"{part}/") if part else (context.task, "")
    titles = {f"{prefix}{dimension.key}": dimension.heading for dimension in task.dimensions}
    by_kind: dict[str, tuple[Callable[[Findings], str], Mapping[str, Sequence[Any]]]] = {
        "ratings": (render, predictions.ratings),
        "pairs": (render_pairs, predictions.pairs),
        "choices": (render_choices, predictions.options),
    }
    render_kind, by_split = by_kind[kind]
    name = context.folder.path.name
    return render_kind(
        Findings(
            name=f"{name}, {part}" if part else name,
            metrics=metrics,
            split=split,
            predictions=by_split[split],
            records=context.splits.of_task(split, part),
            titles=compared_dimensions(context.task, part) if kind == "pairs" else titles,
            text_fields=(*task.text_fields, *task.optional_text_fields),
            config=as_yaml(context.config),
            environment=json.loads(context.folder.environment.read_text(encoding="utf-8")),
            tensorboard=_curves(context),
            max_seconds=context.config.task.data.max_seconds,
            facts=run_facts(context),
        )
    )


def _curves(context: RunContext) -> Path:
    """The folder of the training curves of this run, or of the run in ``checkpoint`` if this run has no training."""
    curves = context.folder.tensorboard
    if context.trains or context.checkpoint is None:
        return curves
    earlier = context.checkpoint.folder.parent / curves.name
    return earlier if earlier.is_dir() else curves


def run_facts(context: RunContext) -> list[str]:
    """The facts in the head of a page: model, task, rubric, method and seed."""
    config, rubric = context.config, context.task.rubric
    facts = [
        f"model {config.model.get('name') or config.model.path.rstrip('/').rpartition('/')[2]}",
        f"task {context.task.name}",
        f"rubric {rubric.name} {rubric.version}",
    ]
    if context.trains:
        method = config.peft["_target_"].rpartition(".")[2] if config.peft else "full fine-tuning"
        facts.append(method.removesuffix("Config"))
        facts.append(f"{len(context.splits['train']):,} training records")
    if context.task.shots:
        facts.append(f"{context.task.shots} examples in the prompt")
    if config.checkpoint:
        facts.append(f"from {config.checkpoint}")
    return [*facts, f"seed {config.seed}"]


def write_tables(
    folder: Path,
    name: str,
    tables: Mapping[str, Table],
    shown: Mapping[str, Table],
    sentences: Sequence[str],
    tables_folder: str = "tables",
) -> None:
    """Write tables for a paper, as Markdown and CSV.

    Args:
        name: the name of the Markdown file without its suffix.
        tables: the complete tables, which are written to ``tables/<key>.csv``.
        shown: the shortened tables for the Markdown file.
        sentences: the text above the tables in the Markdown file.
        tables_folder: the folder of the CSV files inside ``folder``.
    """
    summary = "".join(f"- {in_markdown(sentence)}\n" for sentence in sentences)
    text = "\n".join([f"# {in_markdown(folder.name)}\n", summary, *map(markdown, shown.values())])
    write_text_atomic(folder / f"{name}.md", text)
    (folder / tables_folder).mkdir(parents=True, exist_ok=True)
    for key, table in tables.items():
        write_text_atomic(folder / tables_folder / f"{key}.csv", comma_separated(table))
