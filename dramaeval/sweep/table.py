"""A sweep's table as files, ``sweep.csv``, ``sweep.json`` and ``sweep.html``, and on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table as Grid
from rich.text import Text

from dramaeval.data.csv_text import csv_text
from dramaeval.run.log import duration
from dramaeval.sweep.collect import SPLITS, Row, SeedGroup, Table, collect, seed_groups
from dramaeval.sweep.folder import SweepFolder
from dramaeval.sweep.state import write_alone

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
            write_alone(path / name, text)
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


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>dramaeval sweep</title><style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ text-align: left; padding: .3rem .8rem; border-bottom: 1px solid #ddd; vertical-align: top }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
tr.best {{ background: #e8f4e8; font-weight: 600 }} tr.failed td.s {{ color: #a00 }}
</style></head><body><h1>Sweep of {count} runs</h1><p>{told}</p>{fixed}
<table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table>{seeds}</body></html>
"""


def as_html(table: Table, groups: list[SeedGroup]) -> str:
    """A page that needs nothing else; the best run is marked, the folder names are links."""
    splits = [split for split in SPLITS if any(split in row.agreement for row in table.rows)]
    head = ["run", *table.varied, "state", "objective", *(f"{one}: macro PCC" for one in splits)]
    fixed = [key for key in table.keys if key not in table.varied]
    given = ", ".join(f"{key}={table.rows[0].run.settings[key]}" for key in fixed)
    return _PAGE.format(
        count=len(table.rows),
        told=escape(summary(table)),
        fixed=f"<p>All: <code>{escape(given)}</code></p>" if given else "",
        head="".join(f"<th>{escape(one)}</th>" for one in [*head, "time"]),
        body="\n".join(_line(row, table, splits) for row in table.rows),
        seeds=_seeds_html(groups),
    )


def _line(row: Row, table: Table, splits: list[str]) -> str:
    kind = "best" if row is table.best else escape(row.state.state.split()[0])
    link = f'<a href="{escape(_quoted(row.run.folder.name))}/">{escape(row.run.folder.name)}</a>'
    cells = [f"<td>{link}</td>"]
    cells += [f"<td>{escape(row.run.settings.get(key, ''))}</td>" for key in table.varied]
    cells.append(f'<td class="s">{escape(row.told)}</td>')
    numbers = [number(row.state.objective), *(interval(row, split) for split in splits)]
    cells += [f'<td class="n">{one}</td>' for one in [*numbers, duration(row.seconds)]]
    return f'<tr class="{kind}">{"".join(cells)}</tr>'


def _seeds_html(groups: list[SeedGroup]) -> str:
    if not groups:
        return ""
    lines = [
        f"<tr><td>{escape(settings(group.settings))}</td>"
        f'<td class="n">{len(group.runs)}</td><td class="n">{spread(group)}</td></tr>'
        for group in groups
    ]
    head = "<th>settings</th><th>seeds</th><th>mean objective, 95 % interval</th>"
    return (
        f"<h2>Over seeds</h2><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
        "</table>"
    )


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name)


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
        grid.add_column(key, overflow="fold")
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
