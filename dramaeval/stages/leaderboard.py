"""The stage ``leaderboard``: ranks the systems of the scored clips and writes a page, Markdown, CSV and JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import LeaderboardConfig, Stage
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.data.pair_format import SYSTEMS
from dramaeval.data.problems import first_of
from dramaeval.data.records import Record
from dramaeval.evaluation.leaderboard import rank, scores_by_prompt
from dramaeval.evaluation.pair_predictions import read_pair_predictions
from dramaeval.evaluation.pairs.pair_ranking import NoRankingError, rank_pairs
from dramaeval.evaluation.predictions import read_predictions
from dramaeval.evaluation.report.tables import Table
from dramaeval.stages.context import RunContext, rating_problems
from dramaeval.stages.metrics_file import bootstrap_settings
from dramaeval.stages.read_splits import INPUT
from dramaeval.stages.run_folder import as_yaml
from dramaeval.stages.score_input import PROMPT
from dramaeval.tasks.pair import PairTask
from dramaeval.tasks.task import Task

if TYPE_CHECKING:
    from dramaeval.evaluation.report.about_board import AboutBoard, Example

log = logging.getLogger(__name__)


def check_records(context: RunContext) -> list[str]:
    """Problems of a task without ratings or pairs, and of clips from fewer than two systems."""
    problems = rating_problems(context, Stage.leaderboard, takes_pairs=True)
    if Stage.leaderboard not in context.stages:
        return problems
    records = context.splits[INPUT]
    if isinstance(context.task, PairTask):
        systems = {record.text(key) for record in records for key in SYSTEMS} - {None}
        keys = 'keys "system_a" and "system_b"'
    else:
        systems, keys = {record.system for record in records} - {None}, 'key "system"'
    problems += _prompt_problems(context)
    if len(systems) < 2:
        problems.append(
            f"stages=[leaderboard] ranks systems, but the records of input=… name {len(systems)}: give each "
            f"record the {keys}, or give a folder with a folder for each system."
        )
    return problems


def _prompt_problems(context: RunContext) -> list[str]:
    """The problems of settings about prompts: records lack the key, or the task ignores them."""
    settings = context.config.leaderboard
    key = settings.prompt
    if isinstance(context.task, PairTask):
        problems = []
        if key is not None:
            problems.append(
                f"leaderboard.prompt={key}: pairs have their prompts already (task={context.task.name}): leave it out."
            )
        if settings.examples not in (0, LeaderboardConfig().examples):
            problems.append(
                f"leaderboard.examples={settings.examples}: a ranking from pairs shows no prompts: leave it out."
            )
        return problems
    if key is None:
        return []
    without = [record.id for record in context.splits[INPUT] if record.text(key) is None]
    if not without:
        return []
    return [
        f"leaderboard.prompt={key}: {len(without)} records have no text at this key ({first_of(without)}): give it to "
        "all, or name another key."
    ]


def run(context: RunContext) -> None:
    """Write ``report.html``, ``leaderboard.md``, ``leaderboard.json`` and ``tables/*.csv`` on rank 0.

    Raises:
        ConfigError: the predictions cannot be ranked.
    """
    write = _write_pair_board if isinstance(context.task, PairTask) else _write_score_board
    context.processes.on_rank_zero(lambda: write(context))


def _write_score_board(context: RunContext) -> None:
    """Write the ranking by mean scores."""
    # Plots and templates take time to import.
    from dramaeval.evaluation.report import leaderboard_page as page
    from dramaeval.evaluation.report.about_board import examples_of

    predictions = read_predictions(context.folder.predictions("final"))
    records, task = context.splits[INPUT], context.task
    key = context.config.leaderboard.prompt
    prompts = {record.id: prompt_of(task, record, key) for record in records}
    try:
        board = rank(predictions, prompts, **bootstrap_settings(context.config))
    except ValueError as error:
        raise ConfigError(f"stages=[leaderboard]: {error}.") from None
    tables = page.tables_of(board, _titles(context.task))
    shown = page.shown_tables(board, tables)
    examples = examples_of(
        scores_by_prompt(predictions, prompts),
        prompts,
        records,
        [*task.text_fields, *task.optional_text_fields],
        most=context.config.leaderboard.examples,
    )
    look = {"sentences": page.sentences(board), "forest": page.board_forest(board)}
    _write(context, board, tables, shown, look, examples)


def _write_pair_board(context: RunContext) -> None:
    """Write the ranking by comparisons of pairs."""
    from dramaeval.evaluation.report import leaderboard_page, pair_board

    predictions = read_pair_predictions(context.folder.predictions("final"))
    try:
        board = rank_pairs(predictions, **bootstrap_settings(context.config))
    except NoRankingError as error:
        raise ConfigError(f"stages=[leaderboard]: {error}.") from None
    tables = pair_board.board_tables(board, _titles(context.task))
    shown = leaderboard_page.shown_tables(board, tables, pair_board.differences)
    look = {
        "sentences": pair_board.board_sentences(board),
        "forest": pair_board.board_forest(board),
        "caption": pair_board.CAPTION,
    }
    _write(context, board, tables, shown, look)


def _titles(task: Task) -> dict[str, str]:
    return {dimension.key: dimension.title for dimension in task.dimensions}


def _write(
    context: RunContext,
    board: Mapping[str, Any],
    tables: Mapping[str, Table],
    shown: Mapping[str, Table],
    look: Mapping[str, Any],
    examples: Sequence[Example] = (),
) -> None:
    """Write the files of a ranking; ``look`` has the arguments of `render_board` in which the kinds of ranking differ."""
    from dramaeval.evaluation.report.leaderboard_page import render_board
    from dramaeval.evaluation.report.shared_context import render_with_clips
    from dramaeval.stages.report_html import run_facts, write_tables

    folder, about = context.folder.path, _about(context, examples)
    title = context.config.leaderboard.title or folder.name
    write_json_atomic(
        folder / "leaderboard.json",
        {**board, "title": title, "date": about.date, "judge": about.agreement},
    )
    sentences = [*look["sentences"], *about.lines()]
    write_tables(folder, "leaderboard", tables, shown, sentences)
    facts, config = run_facts(context), as_yaml(context.config)
    shown_ids = {clip.id for example in examples for clip in example.clips}
    html = render_with_clips(
        lambda sounds: render_board(
            board, shown, title, facts, config, about.with_sounds(sounds), **look
        ),
        [record for record in context.splits[INPUT] if record.id in shown_ids],
        context.config.task.data.max_seconds,
    )
    write_text_atomic(context.folder.report, html)
    for sentence in sentences:
        log.info("%s", sentence)
    log.info("Leaderboard: %s", context.folder.report)


def _about(context: RunContext, examples: Sequence[Example]) -> AboutBoard:
    """The information on the page about the judge, the dimensions and the date."""
    from dramaeval.evaluation.report.about_board import AboutBoard, agreement_of, link_to

    metrics: dict[str, Any] = {}
    report = None
    judge = context.checkpoint.folder if context.checkpoint else None
    for place in (judge.parent, judge) if judge else ():
        if (file := place / context.folder.metrics.name).is_file():
            metrics = _read_metrics(file)
            report = link_to(place / context.folder.report.name, context.folder.path)
            break
    return AboutBoard(
        date=datetime.now(UTC).date().isoformat(),
        agreement=agreement_of(metrics),
        report=report,
        dimensions=[
            {"title": dimension.title, "description": dimension.description}
            for dimension in context.task.dimensions
        ],
        examples=examples,
    )


def _read_metrics(file: Path) -> dict[str, Any]:
    """The figures in a file; empty if the file is damaged."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        log.warning("%s is damaged, and the agreement in it is not shown: %s", file, error)
        return {}


def prompt_of(task: Task, record: Record, key: str | None = None) -> str:
    """A text that is equal for clips of different systems if they answer the same prompt.

    It is the text at ``key``; without a key, the name of the file in the folder of its system, or all texts of the task.
    """
    if text := record.text(key or PROMPT):
        return text
    texts = [record.text(field) or "" for field in (*task.text_fields, *task.optional_text_fields)]
    return "\n".join(" ".join(text.split()).casefold() for text in texts)
