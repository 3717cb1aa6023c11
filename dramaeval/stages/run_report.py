"""From a run to its report: gathers what the page needs and writes it into the run folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.evaluation.report.choices_page import ChoiceFindings, render_choices
from dramaeval.evaluation.report.markup import in_markdown
from dramaeval.evaluation.report.run_page import Findings, render
from dramaeval.evaluation.report.tables import Table, comma_separated, markdown
from dramaeval.stages.evidence import PredictionsByPhase, gather_predictions, main_split, records_of
from dramaeval.stages.phase_metrics import read_options
from dramaeval.stages.run_folder import as_yaml

if TYPE_CHECKING:
    from dramaeval.stages.context import RunContext
    from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


def write_reports(run: RunContext, metrics: Mapping[str, Any], said: PredictionsByPhase) -> None:
    """Write ``report.html``; for a mixture ``report.<task>.html`` for each task, whose scales do not mix."""
    if not run.task.parts:
        page = (
            _rated(run, run.task, metrics, said) if metrics_of(metrics) else _choices(run, metrics)
        )
        _write(run.folder.report, page)
        return
    for name, part in run.task.parts.items():
        figures = metrics["tasks"].get(name)
        if not figures:
            continue
        own = {"about": metrics["about"]}
        if part.rated:
            mine = _of_part(said, name)
            own |= {split: dict(phases) for split, phases in figures.items()} | gather_predictions(
                run, mine, part
            )
            page = _rated(run, part, own, mine, name)
        else:
            own["choices"] = {
                split: {phase: one["choices"] for phase, one in phases.items()}
                for split, phases in figures.items()
            }
            page = _choices(run, own, name)
        _write(run.folder.report.with_suffix(f".{name}.html"), page)


def metrics_of(metrics: Mapping[str, Any]) -> list[str]:
    """The splits that agreement on ratings was measured on."""
    return [split for split in ("val", "test") if split in metrics]


def _write(file: Path, page: str) -> None:
    write_text_atomic(file, page)
    log.info("Report: %s", file)


def _of_part(said: PredictionsByPhase, name: str) -> PredictionsByPhase:
    return {
        phase: {
            split: own
            for split, every in by_split.items()
            if (own := [one for one in every if one.dimension.startswith(f"{name}/")])
        }
        for phase, by_split in said.items()
    }


def _rated(
    run: RunContext,
    task: Task,
    metrics: Mapping[str, Any],
    said: PredictionsByPhase,
    part: str | None = None,
) -> str:
    split, phase = main_split(said), list(said)[-1]
    before = f"{part}/" if part else ""
    return render(
        Findings(
            **_common(run, part),
            metrics=metrics,
            split=split,
            predictions=said[phase][split],
            records=records_of(run, split, part),
            titles={f"{before}{one.key}": one.title for one in task.dimensions},
            text_fields=task.text_fields,
        )
    )


def _choices(run: RunContext, metrics: Mapping[str, Any], part: str | None = None) -> str:
    choices = metrics["choices"]
    split = "test" if "test" in choices else next(iter(choices))
    phase = list(choices[split])[-1]
    predictions = read_options(run.folder.predictions(phase))[split]
    if part:
        predictions = [one for one in predictions if one.dimension.startswith(f"{part}/")]
    return render_choices(
        ChoiceFindings(
            **_common(run, part),
            metrics=metrics,
            split=split,
            predictions=predictions,
            records=records_of(run, split, part),
        )
    )


def _common(run: RunContext, part: str | None) -> dict[str, Any]:
    """What every page of a run is told."""
    name = run.folder.path.name
    return {
        "name": f"{name}, {part}" if part else name,
        "config": as_yaml(run.config),
        "environment": json.loads(run.folder.environment.read_text(encoding="utf-8")),
        "tensorboard": _curves_of(run),
        "max_seconds": run.config.task.data.max_seconds,
        "facts": facts_of(run),
    }


def _curves_of(run: RunContext) -> Path:
    """The curves of this run; where it trained nothing, those of the run that it starts from."""
    own = run.folder.tensorboard
    if run.trains or not run.config.checkpoint:
        return own
    earlier = Path(run.config.checkpoint).expanduser() / own.name
    return earlier if earlier.is_dir() else own


def write_tables(
    folder: Path,
    name: str,
    tables: Mapping[str, Table],
    shown: Mapping[str, Table],
    sentences: Sequence[str],
) -> None:
    """Write tables for a paper.

    Args:
        folder: of the run.
        name: of the Markdown file: ``<name>.md``.
        tables: with every row, each written to ``tables/<key>.csv``.
        shown: the bounded ones, all in the Markdown file.
        sentences: what they say, above them.
    """
    said = "".join(f"- {in_markdown(sentence)}\n" for sentence in sentences)
    text = "\n".join([f"# {in_markdown(folder.name)}\n", said, *map(markdown, shown.values())])
    write_text_atomic(folder / f"{name}.md", text)
    (folder / "tables").mkdir(exist_ok=True)
    for key, table in tables.items():
        write_text_atomic(folder / "tables" / f"{key}.csv", comma_separated(table))


def facts_of(run: RunContext) -> list[str]:
    """What a run is, in a few words each, for the head of its page."""
    config, rubric = run.config, run.task.rubric
    facts = [
        f"model {config.model.path.rstrip('/').rpartition('/')[2]}",
        f"task {run.task.name}",
        f"rubric {rubric.name} {rubric.version}",
    ]
    if run.trains:
        method = config.peft["_target_"].rpartition(".")[2] if config.peft else "full fine-tuning"
        facts.append(method.removesuffix("Config"))
        facts.append(f"{len(run.splits['train']):,} training records")
    if run.task.shots:
        facts.append(f"{run.task.shots} examples shown")
    if config.checkpoint:
        facts.append(f"from {config.checkpoint}")
    return [*facts, f"seed {config.seed}"]
