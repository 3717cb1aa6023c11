"""From a run to its report: gathers what the page needs and writes it into the run folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramaeval.evaluation.report.page import Findings, render
from dramaeval.evaluation.report.tables import Table, comma_separated, markdown
from dramaeval.run.evidence import Said, main_split
from dramaeval.run.folder import as_yaml, write_whole

if TYPE_CHECKING:
    from dramaeval.run.run import Run

log = logging.getLogger(__name__)


def write_report(run: Run, metrics: Mapping[str, Any], said: Said) -> None:
    """Write ``report.html``."""
    split, phase = main_split(said), list(said)[-1]
    environment = json.loads(run.folder.environment.read_text(encoding="utf-8"))
    findings = Findings(
        name=run.folder.path.name,
        metrics=metrics,
        split=split,
        predictions=said[phase][split],
        records=run.splits[split],
        titles={dimension.key: dimension.title for dimension in run.task.dimensions},
        text_fields=run.task.text_fields,
        config=as_yaml(run.config),
        environment=environment,
        tensorboard=_curves_of(run),
        max_seconds=run.config.task.data.max_seconds,
        facts=facts_of(run),
    )
    write_whole(run.folder.report, render(findings))
    log.info("Report: %s", run.folder.report)


def _curves_of(run: Run) -> Path:
    """The curves of this run; where it trained nothing, those of the run that it starts from."""
    own = run.folder.tensorboard
    if run.trains or not run.config.checkpoint:
        return own
    earlier = Path(run.config.checkpoint).expanduser() / own.name
    return earlier if earlier.is_dir() else own


def write_tables(
    folder: Path, name: str, tables: Mapping[str, Table], sentences: Sequence[str]
) -> None:
    """Write tables for a paper: all in ``<name>.md`` under what they say, each in ``tables/<key>.csv``."""
    said = "".join(f"- {sentence}\n" for sentence in sentences)
    text = "\n".join([f"# {folder.name}\n", said, *map(markdown, tables.values())])
    write_whole(folder / f"{name}.md", text)
    (folder / "tables").mkdir(exist_ok=True)
    for key, table in tables.items():
        write_whole(folder / "tables" / f"{key}.csv", comma_separated(table))


def facts_of(run: Run) -> list[str]:
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
