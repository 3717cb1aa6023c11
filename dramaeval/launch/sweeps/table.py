"""A sweep's table as files, ``sweep.csv``, ``sweep.json`` and ``sweep.html``, and on the terminal."""

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

from dramaeval.data.csv_text import csv_text
from dramaeval.data.durations import duration
from dramaeval.evaluation.report.markup import render_page
from dramaeval.launch.sweeps.folder import SweepFolder
from dramaeval.launch.sweeps.rows import SPLITS, Row, SeedGroup, Table, collect, seed_groups
from dramaeval.launch.sweeps.state import write_atomic

FILES = ("sweep.csv", "sweep.json", "sweep.html")


def write_tables(
    path: Path, outlook: Mapping[int, str] | None = None, *, running: bool = True
) -> Table:
    """Read the sweep's runs and write its three files; see `collect` for the arguments."""
    table = collect(SweepFolder(path), outlook, running=running)
    while True:
        groups = seed_groups(table)
        texts = (as_csv(table), as_json(table, groups), as_html(table, groups))
        for name, text in zip(FILES, texts, strict=True):
            write_atomic(path / name, text)
        # Several runs may write at a time; whoever is last must not leave an older table behind.
        now = collect(SweepFolder(path), outlook, running=running)
        if [row.state for row in now.rows] == [row.state for row in table.rows]:
            return table
        table = now


def _figures(row: Row) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for split in SPLITS:
        value, low, high = row.agreement.get(split, (None, None, None))
        figures |= {f"{split}_pearson": value, f"{split}_low": low, f"{split}_high": high}
    return figures


def _plain(row: Row, table: Table) -> dict[str, Any]:
    state = row.state
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
        **_figures(row),
        "seconds": round(row.seconds, 1),
        "best": row is table.best,
    }


def as_csv(table: Table) -> str:
    """One line a run; the settings that were given stand last, a column each."""
    names = list(_plain(table.rows[0], table)) if table.rows else ["run", "id"]
    lines = [
        [*_plain(row, table).values(), *(row.run.settings.get(key, "") for key in table.keys)]
        for row in table.rows
    ]
    return csv_text([[*names, *table.keys], *lines])


def as_json(table: Table, groups: list[SeedGroup]) -> str:
    """All of the table; NaN cannot be in it."""
    plain = {
        "counts": table.counts,
        "best": table.best.run.number if table.best else None,
        "direction": "maximize" if table.maximize else "minimize",
        "runs": [{**_plain(row, table), "overrides": row.run.settings} for row in table.rows],
        "seeds": [vars(group) for group in groups],
    }
    return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_html(table: Table, groups: list[SeedGroup]) -> str:
    """A page that needs nothing else; the best run is marked, the folder names are links."""
    splits = [split for split in SPLITS if any(split in row.agreement for row in table.rows)]
    head = ["run", *table.varied, "state", "objective", *(f"{one}: macro PCC" for one in splits)]
    fixed = [key for key in table.keys if key not in table.varied]
    seeds = [
        {"settings": settings(one.settings), "runs": len(one.runs), "objective": spread(one)}
        for one in groups
    ]
    context = {
        "count": len(table.rows),
        "summary": summary(table),
        "fixed": ", ".join(f"{key}={table.rows[0].run.settings[key]}" for key in fixed),
        "head": [*head, "time"],
        "rows": [_shown(row, table, splits) for row in table.rows],
        "seeds": seeds,
    }
    return render_page("sweep.html.j2", context, style="sweep.css")


def _shown(row: Row, table: Table, splits: list[str]) -> dict[str, Any]:
    return {
        "kind": "best" if row is table.best else row.state.state.split()[0],
        # "./", so that a colon in a name does not make a scheme of its beginning.
        "link": f"./{quote(row.run.folder.name)}/",
        "folder": row.run.folder.name,
        "settings": [row.run.settings.get(key, "") for key in table.varied],
        "state": row.told,
        "numbers": [
            number(row.state.objective),
            *(interval(row, split) for split in splits),
            duration(row.seconds),
        ],
    }


def summary(table: Table) -> str:
    """How many runs are in which state, and the best, in a line."""
    told = ", ".join(f"{count} {name}" for name, count in table.counts.items()) or "no runs"
    if table.best is not None:
        told += f"; best: {table.best.run.folder.name} with objective {number(table.best.state.objective)}"
    return told


def for_terminal(table: Table) -> Group:
    """The table with the settings that vary, and a line that sums it up."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    splits = [split for split in SPLITS if any(split in row.agreement for row in table.rows)]
    grid.add_column("run", no_wrap=True)
    for key in table.varied:
        grid.add_column(Text(key), overflow="fold")
    grid.add_column("state", overflow="fold")
    for name in ("objective", *(f"{split} PCC" for split in splits), "time"):
        grid.add_column(name, justify="right", no_wrap=True)
    for row in table.rows:
        cells = [row.run.folder.name, *(row.run.settings.get(key, "") for key in table.varied)]
        cells += [row.told, number(row.state.objective)]
        cells += [*(interval(row, split) for split in splits), duration(row.seconds)]
        # Text, not markup: a setting may hold square brackets.
        grid.add_row(*map(Text, cells), style="bold" if row is table.best else "")
    seeds = [
        Text(f"{settings(group.settings)}: {spread(group)} over {len(group.runs)} seeds")
        for group in seed_groups(table)
    ]
    return Group(grid, *seeds, Text(summary(table)))


def print_table(table: Table, path: Path) -> None:
    """Print it, fitted to a terminal or in whole lines, and say where its files are."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=400)
    console.print(for_terminal(table))
    print(f"The table is in {path / 'sweep.html'}, sweep.csv and sweep.json", flush=True)


def settings(given: Mapping[str, str]) -> str:
    """Settings as on the command line."""
    return " ".join(f"{key}={value}" for key, value in given.items()) or "(defaults)"


def spread(group: SeedGroup) -> str:
    """Mean and interval over seeds."""
    if group.low is None:
        return number(group.mean)
    return f"{number(group.mean)} [{number(group.low)}, {number(group.high)}]"


def interval(row: Row, split: str) -> str:
    """A split's macro Pearson with its interval."""
    value, low, high = row.agreement.get(split, (None, None, None))
    if low is None:
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def number(value: float | None) -> str:
    """Three decimals; a dash for what is not known."""
    return "-" if value is None else f"{value:.3f}"
