"""The stage ``leaderboard``: ranks the systems of the scored clips, as a page, Markdown, CSV and JSON."""

from __future__ import annotations

import logging

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.data.records import Record
from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.predictions import read_predictions
from dramaeval.stages.context import RunContext, rating_problems
from dramaeval.stages.metrics_file import bootstrap_settings
from dramaeval.stages.read_splits import INPUT
from dramaeval.stages.run_folder import as_yaml
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


def check_records(context: RunContext) -> list[str]:
    """Problems of tasks without ratings, and of clips from fewer than two systems."""
    problems = rating_problems(context, Stage.leaderboard)
    systems = {record.system for record in context.splits[INPUT]} - {None}
    if Stage.leaderboard in context.stages and len(systems) < 2:
        problems.append(
            f"stages=[leaderboard] ranks systems, but the records of input=… name {len(systems)}: give each "
            'record the key "system".'
        )
    return problems


def run(context: RunContext) -> None:
    """Write the leaderboard on rank 0."""
    context.processes.on_rank_zero(lambda: write_leaderboard(context))


def write_leaderboard(context: RunContext) -> None:
    """Write ``report.html``, ``leaderboard.md``, ``leaderboard.json`` and ``tables/*.csv``.

    Raises:
        ConfigError: the predictions cannot be ranked.
    """
    # Imported late: plots and templates take time to import.
    from dramaeval.evaluation.report import leaderboard_page as page
    from dramaeval.stages.report_html import run_facts, write_tables

    folder, task = context.folder.path, context.task
    predictions = read_predictions(context.folder.predictions("final"))
    prompts = {record.id: prompt_of(task, record) for record in context.splits[INPUT]}
    try:
        board = rank(predictions, prompts, **bootstrap_settings(context.config))
    except ValueError as error:
        raise ConfigError([f"stages=[leaderboard]: {error}."]) from None
    write_json_atomic(folder / "leaderboard.json", board)
    tables = page.tables_of(
        board, {dimension.key: dimension.title for dimension in task.dimensions}
    )
    shown, sentences = page.shown_tables(board, tables), page.sentences(board)
    write_tables(folder, "leaderboard", tables, shown, sentences)
    html = page.render_board(board, shown, folder.name, run_facts(context), as_yaml(context.config))
    write_text_atomic(context.folder.report, html)
    for sentence in sentences:
        log.info("%s", sentence)
    log.info("Leaderboard: %s", context.folder.report)


def prompt_of(task: Task, record: Record) -> str:
    """The texts that clips of different systems share if they answer the same prompt."""
    texts = [record.text(field) or "" for field in (*task.text_fields, *task.optional_text_fields)]
    return "\n".join(" ".join(text.split()).casefold() for text in texts)
