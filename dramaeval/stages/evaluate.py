"""The stage ``evaluate``: held-out records are scored, and what was said is measured against people."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.data.manifest import damage_of, is_listed, set_aside, write_listed
from dramaeval.evaluation.agreement_table import agreement_text, print_agreement
from dramaeval.stages import run_log
from dramaeval.stages.evidence import gather_predictions
from dramaeval.stages.phase_metrics import (
    agreement,
    beside_in_words,
    damage_in_form,
    measured_beside,
    objective_of,
    read_answers,
)

if TYPE_CHECKING:
    from dramaeval.stages.context import RunContext

log = logging.getLogger(__name__)


def evaluate(run: RunContext, phase: str) -> None:
    """Score the held-out splits, unless that was done before an interruption."""
    if run.processes.broadcast(
        run.processes.is_rank_zero and _is_scored(run.folder.predictions(phase))
    ):
        return
    lines = []
    for split in run.evaluated:
        progress = run_log.Progress(
            f"scoring {split} ({phase.replace('_', '-')})", len(run.splits[split]), "clips"
        )
        found = run.score(run.splits[split], progress)
        progress.finish()
        lines += [{"split": split, "phase": phase, **one.to_json()} for one in found]
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    run.processes.on_rank_zero(lambda: write_listed(run.folder.predictions(phase), text))


def _is_scored(file: Path) -> bool:
    """Whether a predictions file is there and whole; one that is damaged is set aside."""
    if not file.is_file():
        return False
    damage = damage_of(file)
    if damage is None and not is_listed(file):
        damage = damage_in_form(file)  # of an earlier version, which wrote no hash
    if damage is None:
        return True
    aside = set_aside(file)
    log.warning(
        "%s: %s. It is scored again; what is left of it is in %s.", file, damage, aside.name
    )
    return False


def report(run: RunContext, phases: list[str]) -> float | None:
    """Measure agreement, write metrics.json, print the table; returns the objective."""
    keys = [dimension.key for dimension in run.task.rated]
    metrics: dict[str, Any] = {}
    answers = {phase: read_answers(run.folder.predictions(phase)) for phase in phases}
    said = {phase: given.ratings for phase, given in answers.items()}
    for phase, by_split in said.items():
        for split, predictions in by_split.items():
            metrics.setdefault(split, {})[phase] = agreement(
                run.config, predictions, keys, run.metrics
            )
    beside = measured_beside(run.config, run.task, answers, run.metrics)
    rubric = {"name": run.task.rubric.name, "version": run.task.rubric.version}
    about = {
        "rubric": rubric,
        "records": {name: len(records) for name, records in run.splits.records.items()},
        "skipped": run.splits.skipped_summary(),
        "overlaps": list(run.splits.overlaps),
        "scoring": run.task.scoring(),
        "remarks": run.splits.remarks(run.task),
    }
    if run.processes.is_rank_zero:
        evidence = gather_predictions(run, said) if metrics else {}
        whole = {**metrics, **beside, **evidence, "about": about}
        write_json_atomic(run.folder.metrics, whole, listed=True)
        if run.config.evaluation.html and (metrics or beside):
            # Plots and templates are loaded where there is something to show.
            from dramaeval.stages.run_report import write_reports

            write_reports(run, whole, said)
    run.loggers.report(metrics)
    titles = {dimension.key: dimension.title for dimension in run.task.dimensions}
    for split in metrics:
        text = agreement_text(metrics[split], heading=split, titles=titles)
        log.info("\n%s", text, extra={"only_in_file": True})
        if run.processes.is_rank_zero:
            print_agreement(metrics[split], heading=split, titles=titles)
    for text in beside_in_words(beside, metrics):
        log.info("%s", text)
    log.info("Everything is in %s", run.folder.path)
    return objective_of(metrics, beside, phases[-1])
