"""The stage ``leaderboard``: ranks the systems of the scored clips, as a page, Markdown, CSV and JSON."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.data.pair_format import SYSTEMS
from dramaeval.data.records import Record
from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.pair_predictions import read_pair_predictions
from dramaeval.evaluation.pairs.pair_ranking import NoRankingError, rank_pairs
from dramaeval.evaluation.predictions import read_predictions
from dramaeval.evaluation.report.tables import Table
from dramaeval.stages.context import RunContext, rating_problems
from dramaeval.stages.metrics_file import bootstrap_settings
from dramaeval.stages.read_splits import INPUT
from dramaeval.stages.run_folder import as_yaml
from dramaeval.tasks.pair import PairTask
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


def check_records(context: RunContext) -> list[str]:
    """Problems of tasks without ratings or pairs, and of clips from fewer than two systems."""
    problems = rating_problems(context, Stage.leaderboard, takes_pairs=True)
    if Stage.leaderboard not in context.stages:
        return problems
    records = context.splits[INPUT]
    if isinstance(context.task, PairTask):
        systems = {record.text(key) for record in records for key in SYSTEMS} - {None}
        keys = 'keys "system_a" and "system_b"'
    else:
        systems, keys = {record.system for record in records} - {None}, 'key "system"'
    if len(systems) < 2:
        problems.append(
            f"stages=[leaderboard] ranks systems, but the records of input=… name {len(systems)}: give each "
            f"record the {keys}."
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
    if isinstance(context.task, PairTask):
        _write_pair_board(context)
    else:
        _write_score_board(context)
    log.info("Leaderboard: %s", context.folder.report)


def _write_score_board(context: RunContext) -> None:
    """The ranking by mean scores."""
    # Imported late: plots and templates take time to import.
    from dramaeval.evaluation.report import leaderboard_page as page

    predictions = read_predictions(context.folder.predictions("final"))
    prompts = {record.id: prompt_of(context.task, record) for record in context.splits[INPUT]}
    try:
        board = rank(predictions, prompts, **bootstrap_settings(context.config))
    except ValueError as error:
        raise ConfigError([f"stages=[leaderboard]: {error}."]) from None
    tables = page.tables_of(board, _titles(context.task))
    shown = page.shown_tables(board, tables)
    _write(context, board, tables, shown, page.sentences(board), page.render_board)


def _write_pair_board(context: RunContext) -> None:
    """The ranking by comparisons."""
    from dramaeval.evaluation.report import leaderboard_page, pair_board

    predictions = read_pair_predictions(context.folder.predictions("final"))
    try:
        board = rank_pairs(predictions, **bootstrap_settings(context.config))
    except NoRankingError as error:
        raise ConfigError([f"stages=[leaderboard]: {error}."]) from None
    tables = pair_board.board_tables(board, _titles(context.task))
    shown = leaderboard_page.shown_tables(board, tables, pair_board.differences)
    sentences = pair_board.board_sentences(board)
    _write(context, board, tables, shown, sentences, pair_board.render_pair_board)


def _titles(task: Task) -> dict[str, str]:
    return {dimension.key: dimension.title for dimension in task.dimensions}


def _write(
    context: RunContext,
    board: Mapping[str, Any],
    tables: Mapping[str, Table],
    shown: Mapping[str, Table],
    sentences: Sequence[str],
    render: Callable[..., str],
) -> None:
    """Write the files of a ranking; ``render`` makes its page."""
    from dramaeval.stages.report_html import run_facts, write_tables

    folder = context.folder.path
    write_json_atomic(folder / "leaderboard.json", board)
    write_tables(folder, "leaderboard", tables, shown, sentences)
    html = render(board, shown, folder.name, run_facts(context), as_yaml(context.config))
    write_text_atomic(context.folder.report, html)
    for sentence in sentences:
        log.info("%s", sentence)


def prompt_of(task: Task, record: Record) -> str:
    """The texts that clips of different systems share if they answer the same prompt."""
    texts = [record.text(field) or "" for field in (*task.text_fields, *task.optional_text_fields)]
    return "\n".join(" ".join(text.split()).casefold() for text in texts)
