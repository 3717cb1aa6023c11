"""The stage ``leaderboard``: the systems of the scored clips, ranked, as a page, Markdown, CSV and JSON."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dramaeval.config.problems import ConfigError
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.data.records import Record
from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.report.leaderboard_page import (
    render_board,
    sentences,
    shown_tables,
    tables_of,
)
from dramaeval.stages.run_folder import as_yaml
from dramaeval.stages.run_report import facts_of, write_tables
from dramaeval.stages.splits import INPUT
from dramaeval.tasks.task import Task

if TYPE_CHECKING:
    from dramaeval.stages.context import RunContext

log = logging.getLogger(__name__)


def prompt_of(task: Task, record: Record) -> str:
    """What a record has in common with the other systems' clips for the same prompt: its texts."""
    texts = [record.text(field) or "" for field in task.text_fields]
    return "\n".join(" ".join(text.split()).casefold() for text in texts)


def write_leaderboard(run: RunContext, predictions: Sequence[Prediction]) -> None:
    """Rank the systems and write ``report.html``, ``leaderboard.md``, ``.json`` and ``tables/*.csv``."""
    prompts = {record.id: prompt_of(run.task, record) for record in run.splits[INPUT]}
    evaluation = run.config.evaluation
    try:
        board = rank(
            predictions,
            prompts,
            seed=run.config.seed,
            draws=evaluation.draws,
            level=evaluation.level,
        )
    except ValueError as error:
        raise ConfigError([f"stages=[leaderboard]: {error}."]) from None
    titles = {dimension.key: dimension.title for dimension in run.task.dimensions}
    folder = run.folder.path
    write_json_atomic(folder / "leaderboard.json", board)
    tables = tables_of(board, titles)
    shown, said = shown_tables(board, tables), sentences(board)
    write_tables(folder, "leaderboard", tables, shown, said)
    page = render_board(board, shown, folder.name, facts_of(run), as_yaml(run.config))
    write_text_atomic(run.folder.report, page)
    for sentence in said:
        log.info("%s", sentence)
    log.info("Leaderboard: %s", run.folder.report)
