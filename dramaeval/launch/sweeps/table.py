"""Writes a sweep's table to ``sweep.csv``, ``sweep.json`` and ``sweep.html``, and prints it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich import box
from rich.console import Console, Group
from rich.table import Table as Grid
from rich.text import Text

from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.csv_text import csv_text
from dramaeval.data.durations import duration
from dramaeval.data.problems import counted
from dramaeval.evaluation.report.markup import render_page
from dramaeval.launch.sweeps.folder import SweepFolder
from dramaeval.launch.sweeps.joining import join_shards, progress_text
from dramaeval.launch.sweeps.result_rows import SPLITS, Row, SeedGroup, Table, collect, seed_groups

FILES = ("sweep.csv", "sweep.json", "sweep.html")


def write_tables(
    path: Path, queue_states: Mapping[int, str] | None = None, *, running: bool = True
) -> Table:
    """Read the sweep's runs and write the three files.

    Args:
        queue_states, running: as in `collect`.
    """
    table = collect(SweepFolder(path), queue_states, running=running)
    while True:
        groups = seed_groups(table)
        texts = (as_csv(table), as_json(table, groups), as_html(table, groups))
        for name, text in zip(FILES, texts, strict=True):
            write_text_atomic(path / name, text)
        # Several runs may write at the same time; the last write must not leave an older table.
        newer = collect(SweepFolder(path), queue_states, running=running)
        if [row.state for row in newer.rows] == [row.state for row in table.rows]:
            return table
        table = newer


def _plain(row: Row, table: Table) -> dict[str, Any]:
    state = row.state
    figures: dict[str, float | None] = {}
    for split in dict.fromkeys([*SPLITS, *table.splits]):
        value, low, high = row.agreement_on(split)
        figures |= {f"{split}_pearson": value, f"{split}_low": low, f"{split}_high": high}
    return {
        "run": row.run.number,
        "id": row.run.id,
        "folder": row.run.folder.name,
        "state": state.state,
        "reason": state.reason,
        "preempted": state.preempted,
        "timed_out": state.timed_out,
        "restarted": state.restarted,
        "objective": state.objective,
        **figures,
        "seconds": round(row.seconds, 1),
        "best": table.is_best(row),
    }


def as_csv(table: Table) -> str:
    """The table as CSV, a line for each run; the last columns are the settings that differ between the runs."""
    names = list(_plain(table.rows[0], table)) if table.rows else ["run", "id"]
    lines = [
        [*_plain(row, table).values(), *row.settings(table.varied).values()] for row in table.rows
    ]
    return csv_text([[*names, *table.varied], *lines])


def as_json(table: Table, groups: list[SeedGroup]) -> str:
    """The table as JSON."""
    runs = []
    for row in table.rows:
        overrides = {key: text for key, text in row.run.settings.items() if key in table.varied}
        runs.append({**_plain(row, table), "overrides": overrides})
    plain = {
        "counts": table.counts,
        "best": vars(table.best) if table.best else None,
        "direction": "maximize" if table.maximize else "minimize",
        "common": table.common,
        "runs": runs,
        "seeds": [vars(group) for group in groups],
    }
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(table: Table, groups: list[SeedGroup]) -> str:
    """A self-contained page that marks the best run and links to the run folders."""
    seeds = [
        {"settings": settings(group.settings), "runs": len(group.runs), "objective": spread(group)}
        for group in groups
    ]
    splits = [f"{split}: macro PCC" for split in table.splits]
    context = {
        "count": len(table.rows),
        "summary": summary(table),
        "fixed": settings(table.common) if table.common else "",
        "head": ["run", *table.varied, "state", "objective", *splits, "time"],
        "rows": [_shown(row, table) for row in table.rows],
        "seeds": seeds,
    }
    return render_page("sweep.html.j2", context, style="sweep.css", script="")


def _shown(row: Row, table: Table) -> dict[str, Any]:
    """The cells of a row, for the page and the terminal."""
    return {
        "kind": "best" if table.is_best(row) else row.state.state.split()[0],
        # "./" keeps a name with a colon from being read as a URL scheme.
        "link": f"./{quote(row.run.folder.name)}/",
        "folder": row.run.folder.name,
        "settings": list(row.settings(table.varied).values()),
        "state": row.description + (f"; {progress_text(row.progress)}" if row.progress else ""),
        "numbers": [
            number(row.state.objective),
            *(number(*row.agreement_on(split)) for split in table.splits),
            duration(row.seconds),
        ],
    }


def summary(table: Table) -> str:
    """One line: the number of runs in each state, and the best run, or the best settings with an interval."""
    text = ", ".join(f"{count} {name}" for name, count in table.counts.items()) or "no runs"
    text += f"; {table.shards}" if table.shards else ""
    if table.best is None:
        return text
    runs = [row for row in table.rows if table.is_best(row)]
    names = ", ".join(row.run.folder.name for row in runs)
    if len(runs) == 1:
        return f"{text}; best: {names} with objective {_objective(runs[0])}"
    return (
        f"{text}; best over seeds: {settings(table.best.settings)} with mean objective {spread(table.best)} over "
        f"{len(runs)} seeds ({names})"
    )


def _objective(row: Row) -> str:
    """The objective of a run; if it is the macro Pearson of a split, with its interval over the clips."""
    objective = row.state.objective
    equal = [figures for figures in row.agreement.values() if figures[0] == objective]
    return number(*equal[0]) if equal else number(objective)


def for_terminal(table: Table) -> Group:
    """The table with the settings that vary, the seed groups and the summary line."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("run", no_wrap=True)
    for key in table.varied:
        grid.add_column(Text(key), overflow="fold")
    grid.add_column("state", overflow="fold")
    for name in ("objective", *(f"{split} PCC" for split in table.splits), "time"):
        grid.add_column(name, justify="right", no_wrap=True)
    for row in table.rows:
        shown = _shown(row, table)
        cells = [shown["folder"], *shown["settings"], shown["state"], *shown["numbers"]]
        # Text, not markup: a setting may hold square brackets.
        grid.add_row(*map(Text, cells), style="bold" if table.is_best(row) else "")
    seeds = [
        Text(f"{settings(group.settings)}: {spread(group)} over {counted(len(group.runs), 'seed')}")
        for group in seed_groups(table)
    ]
    common = [Text(f"All: {settings(table.common)}")] if table.common else []
    return Group(*common, grid, *seeds, Text(summary(table)))


def show_tables(
    sweep: SweepFolder,
    queue_states: Mapping[int, str] | None = None,
    *,
    running: bool,
    own: bool = False,
) -> Table:
    """As `write_tables`; then print the table, whose lines are wrapped on a terminal only, and join finished shards.

    ``own`` is as in `join_shards`.
    """
    table = write_tables(sweep.path, queue_states, running=running)
    console = Console()
    if not console.is_terminal:
        console = Console(width=400)
    console.print(for_terminal(table))
    print(f"The table is in {sweep.path / 'sweep.html'}, sweep.csv and sweep.json", flush=True)
    if joined := join_shards(sweep, own=own):
        print(joined, flush=True)
    return table


def settings(values: Mapping[str, str]) -> str:
    """Settings in the syntax of the command line."""
    return " ".join(f"{key}={value}" for key, value in values.items()) or "(defaults)"


def spread(group: SeedGroup) -> str:
    """The mean over seeds with its interval, as text."""
    return number(group.mean, group.low, group.high)


def number(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A figure with three decimals, and with its interval if it has one; ``-`` for None."""
    shown = "-" if value is None else f"{value:.3f}"
    return shown if low is None or high is None else f"{shown} [{low:.3f}, {high:.3f}]"
