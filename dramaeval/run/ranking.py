"""The stage ``leaderboard``: the systems of the scored clips, ranked, as a page, Markdown, CSV and JSON."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dramaeval.config.check import ConfigError
from dramaeval.data.records import Record
from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.report.board_page import (
    render_board,
    sentences,
    shown_tables,
    tables_of,
)
from dramaeval.run.folder import as_yaml, write_json, write_whole
from dramaeval.run.reading import INPUT
from dramaeval.run.reporting import facts_of, write_tables
from dramaeval.tasks.task import Task

if TYPE_CHECKING:
    from dramaeval.run.run import Run

log = logging.getLogger(__name__)


def prompt_of(task: Task, record: Record) -> str:
    """What a record has in common with the other systems' clips for the same prompt: its texts."""
    texts = [record.text(field) or "" for field in task.text_fields]
    return "\n".join(" ".join(text.split()).casefold() for text in texts)


def write_leaderboard(run: Run, predictions: Sequence[Prediction]) -> None:
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
    write_json(folder / "leaderboard.json", board)
    tables = tables_of(board, titles)
    shown, said = shown_tables(board, tables), sentences(board)
    write_tables(folder, "leaderboard", tables, shown, said)
    page = render_board(board, shown, folder.name, facts_of(run), as_yaml(run.config))
    write_whole(run.folder.report, page)
    for sentence in said:
        log.info("%s", sentence)
    log.info("Leaderboard: %s", run.folder.report)
