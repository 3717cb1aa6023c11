"""The stage ``evaluate``: held-out records are scored, and what was said is measured against people."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from dramaeval.evaluation.table import agreement_text, print_agreement
from dramaeval.run import log as run_log
from dramaeval.run.evidence import gather
from dramaeval.run.folder import write_json, write_whole
from dramaeval.run.measures import (
    agreement,
    beside_in_words,
    measured_beside,
    objective_of,
    read_phase,
)

if TYPE_CHECKING:
    from dramaeval.run.run import Run

log = logging.getLogger(__name__)


def evaluate(run: Run, phase: str) -> None:
    """Score the held-out splits, unless that was done before an interruption."""
    if run.processes.agree(run.folder.predictions(phase).is_file()):
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
    run.processes.by_first(lambda: write_whole(run.folder.predictions(phase), text, verbatim=True))


def report(run: Run, phases: list[str]) -> float | None:
    """Measure agreement, write metrics.json, print the table; returns the objective."""
    keys = [dimension.key for dimension in run.task.rated]
    metrics: dict[str, Any] = {}
    files = {phase: run.folder.predictions(phase) for phase in phases}
    said = {phase: read_phase(file) for phase, file in files.items()}
    for phase, by_split in said.items():
        for split, predictions in by_split.items():
            metrics.setdefault(split, {})[phase] = agreement(
                run.config, predictions, keys, run.metrics
            )
    beside = measured_beside(run.config, run.task, files, run.metrics)
    rubric = {"name": run.task.rubric.name, "version": run.task.rubric.version}
    about = {
        "rubric": rubric,
        "records": {name: len(records) for name, records in run.splits.records.items()},
        "skipped": run.splits.skipped_summary(),
        "overlaps": list(run.splits.overlaps),
        "scoring": run.task.scoring(),
        "remarks": run.splits.remarks(run.task),
    }
    if run.processes.first:
        evidence = gather(run, said) if metrics else {}
        whole = {**metrics, **beside, **evidence, "about": about}
        write_json(run.folder.metrics, whole)
        if run.config.evaluation.html and (metrics or beside):
            # Plots and templates are loaded where there is something to show.
            from dramaeval.run.reporting import write_reports

            write_reports(run, whole, said)
    run.loggers.report(metrics)
    titles = {dimension.key: dimension.title for dimension in run.task.dimensions}
    for split in metrics:
        text = agreement_text(metrics[split], heading=split, titles=titles)
        log.info("\n%s", text, extra={"only_in_file": True})
        if run.processes.first:
            print_agreement(metrics[split], heading=split, titles=titles)
    for text in beside_in_words(beside, metrics):
        log.info("%s", text)
    log.info("Everything is in %s", run.folder.path)
    return objective_of(metrics, beside, phases[-1])
