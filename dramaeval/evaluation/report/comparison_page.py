"""The page of a comparison of runs, with its tables and sentences; `comparison_kinds` has the parts by kind of run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from dramaeval.data.problems import counted
from dramaeval.evaluation.report import plots, sections
from dramaeval.evaluation.report import summary_text as words
from dramaeval.evaluation.report.comparison_kinds import SCORES, kind_of
from dramaeval.evaluation.report.markup import render_page
from dramaeval.evaluation.report.side_by_side import Comparison
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Columns,
    Table,
    first_rows,
    number,
    shown,
    table_of,
    with_interval,
)

#: Colours and markers of the runs in the figure, which shows only the first runs.
LOOKS = (
    ("#0072B2", "o"), ("#B34700", "s"), ("#00724E", "^"), ("#8C4A78", "D"), ("#1b1f24", "v"),
    ("#7A6000", "P"),
)  # fmt: skip
#: The meaning of an interval by its position relative to 0 (see `summary_text.position`).
VERDICTS = {
    "above": "it is better",
    "below": "it is worse",
    "open": "no difference is shown",
    "unknown": "there are too few groups for an interval",
}
#: Prefixes of the tables of single runs.
_EACH = tuple(f"{prefix}_" for prefix in SCORES.each_run)
MOST_PAIRS = 500
"""Maximum number of pairs of runs on the page; tables/pairs.csv has all pairs."""
MOST_EACH = 40_000
"""Maximum number of cells of the tables of single runs on a page, all tables together."""


def render_comparison(
    comparison: Comparison,
    tables: Mapping[str, Table],
    name: str,
    facts: Sequence[str],
    config: str,
) -> str:
    """Render the page, a self-contained HTML file.

    Args:
        comparison: the result of `side_by_side` or `pairs_side_by_side`.
        tables: the bounded tables, see `shown_tables`.
        name: name of the comparison.
        facts: short facts, for the head of the page.
        config: the resolved configuration of the comparison, as YAML.
    """
    kind = kind_of(comparison)
    run_tables = [table for key, table in tables.items() if key.startswith(_EACH)]
    all_run_tables = len(kind.each_run) * len(comparison.names)
    each_note = ""
    if len(run_tables) < all_run_tables:
        each_note = f"The first {len(run_tables):,} of {all_run_tables:,} tables; the folder tables has all of them."
    context = {
        "title": f"{name}: comparison",
        "kind": kind.title,
        "heading": " · ".join(comparison.names) if len(comparison.names) < 5 else name,
        "facts": facts,
        "contents": [
            ("summary", "Summary"),
            ("overview", "Overview"),
            ("dimensions", "Dimensions"),
            *([("each", "Each run")] if kind.each_run else []),
            ("settings", "Settings"),
        ],
        "summary": sentences(comparison),
        "notes": comparison.notes,
        "forest": _forest(comparison),
        "forest_note": plots.limit_note(len(comparison.names), len(LOOKS), "runs")
        + plots.limit_note(len(comparison.dimensions), plots.MOST_ROWS, "dimensions"),
        "overview": [
            tables[key] for key in ("overview", "pairs", "published", "test_sets") if key in tables
        ],
        "dimensions": [tables[key] for key in kind.metrics],
        "each": run_tables,
        "each_note": each_note,
        "settings": tables.get("settings"),
        "config": config,
    }
    return render_page("comparison.html.j2", context)


def shown_tables(tables: Mapping[str, Table], folder: str = "tables") -> dict[str, Table]:
    """Bound the tables for the page and the Markdown file; of the tables of single runs, keep only the first.

    Args:
        tables: the tables with all rows.
        folder: folder of the files with all rows, which the bounded tables name.
    """
    bounded, cells_left = {}, MOST_EACH
    for key, table in tables.items():
        part = first_rows(table, f"{folder}/{key}.csv", MOST_PAIRS if key == "pairs" else None)
        if key.startswith(_EACH):
            cells_left -= len(part.columns) * len(part.rows)
            if cells_left < 0:
                continue
        bounded[key] = part
    return bounded


def tables_of(comparison: Comparison) -> dict[str, Table]:
    """All tables by key, with all rows."""
    kind = kind_of(comparison)
    tables = {"overview": overview(comparison)}
    if len(comparison.names) > 2:
        tables["pairs"] = pairs(comparison)
    note = (
        "Each run on all of its own records; the other tables have the records that all runs share."
    )
    if table := sections.published(comparison.published, "Run", [note]):
        tables["published"] = table
    tables |= {metric: by_dimension(comparison, metric) for metric in kind.metrics}
    for run, (name, summary) in enumerate(comparison.summaries.items(), 1):
        for prefix, make_table in kind.each_run.items():
            table = make_table(summary, comparison.dimensions)
            tables[f"{prefix}_{run}"] = replace(table, caption=f"{name}: {table.caption.lower()}")
    if comparison.differing:
        tables["settings"] = settings(comparison)
    return tables


def sentences(comparison: Comparison) -> list[str]:
    """State whether each run is better than the first in the main metric, with interval and p value."""
    first, kind = comparison.names[0], kind_of(comparison)
    metric, (answers, unit) = kind.main[0], kind.answers
    macro = comparison.summaries[first]["macro"]
    value = "undefined" if macro[metric] is None else shown(macro[metric])
    lines = [f"{first}: {kind.base} {value} on {counted(macro[answers], unit)}."]
    for name, difference in comparison.against_first.items():
        entry = difference["macro"][metric]
        if entry is None:
            lines.append(f"{name}: {kind.undefined}.")
            continue
        size = with_interval(entry["difference"], entry["interval"], sign=True).plain
        verdict = VERDICTS[words.position(entry["interval"])]
        p = "" if entry["p"] is None else f", permutation p = {entry['p']:.2g}"
        lines.append(f"{name} against {first}: {size}{p}; {verdict}.")
    return lines


def overview(comparison: Comparison) -> Table:
    """The macro metrics of every run, and the differences from the first run."""
    first, kind = comparison.names[0], kind_of(comparison)
    (main, main_title), (error, error_title) = kind.main, kind.error
    columns = [
        Column("Run", numeric=False),
        *kind.overview,
        Column(f"{main_title} − {first}", help="paired"),
        Column("p", help="permutation test"),
        Column(f"{error_title} − {first}", help="paired; below zero is better"),
        *kind.counts,
    ]

    def row(name: str) -> list[Cell]:
        macro = comparison.summaries[name]["macro"]
        differences = comparison.against_first.get(name, {}).get("macro", {})
        missing = "the first run" if name == first else ""
        return [
            Cell(name),
            *(cell(macro) for cell in kind.overview.values()),
            sections.difference_cell(differences.get(main), missing),
            number((differences.get(main) or {}).get("p"), 4, missing=missing),
            sections.difference_cell(differences.get(error), missing),
            *(cell(macro) for cell in kind.counts.values()),
        ]

    rows = [row(name) for name in comparison.names]
    return Table(kind.mean[0], columns, rows, notes=kind.notes(comparison.summaries[first]))


def pairs(comparison: Comparison) -> Table:
    """The difference of every two runs in the main metric."""
    caption, difference, adjustment = kind_of(comparison).every_two
    columns: Columns = {
        Column("Against", numeric=False): lambda pair: Cell(pair["against"]),
        Column(difference): sections.difference_cell,
        Column("p"): lambda pair: number(pair["p"], 4),
        Column("Adjusted p", help=adjustment): lambda pair: number(pair["p_adjusted"], 4),
    }
    return table_of(caption, "Run", columns, ((pair["run"], pair) for pair in comparison.pairs))


def by_dimension(comparison: Comparison, metric: str) -> Table:
    """One metric by dimension: a column for each run, and a column for each difference from the first run."""
    kind = kind_of(comparison)
    first, *others = comparison.names
    counts, count_cell = next(iter(kind.counts.items()))
    last = {**kind.beside.get(metric, {}), counts: count_cell}
    columns = [
        sections.DIMENSION,
        *(Column(name) for name in comparison.names),
        *(Column(f"{name} − {first}", help="paired") for name in others),
        *last,
    ]

    def row(title: str, key: str | None) -> list[Cell]:
        def part(results: Mapping[str, Any]) -> Any:
            return results["macro"] if key is None else results["dimensions"][key]

        summaries = [part(comparison.summaries[name]) for name in comparison.names]
        differences = [part(comparison.against_first[name]) for name in others]
        return [
            Cell(title),
            *(sections.metric_cell(summary, metric) for summary in summaries),
            *(sections.difference_cell(entries.get(metric)) for entries in differences),
            *(cell(summaries[0]) for cell in last.values()),
        ]

    rows = [row(name, key) for key, name in comparison.dimensions.items()]
    caption = f"{kind.metrics[metric]} by dimension"
    return Table(caption, columns, rows, [row(kind.mean[1], None)])


def test_sets(by_run: Mapping[str, Mapping[str, Any]]) -> Table:
    """The drop of every run from the first test set to the others.

    Args:
        by_run: the result of `dramaeval.evaluation.drop.drops`, by run.
    """
    columns: Columns = {
        Column("Test set", numeric=False): lambda drop: Cell(drop["split"]),
        Column("Pearson"): lambda drop: number((drop["macro"]["pearson"] or {}).get("a")),
        Column("Against", numeric=False): lambda drop: Cell(drop["from"]),
        Column("Pearson there"): lambda drop: number((drop["macro"]["pearson"] or {}).get("b")),
        Column("Difference", help="different records, so not paired"): (
            lambda drop: sections.difference_cell(drop["macro"]["pearson"])
        ),
        Column("Difference in MSE"): lambda drop: sections.difference_cell(drop["macro"]["mse"]),
    }
    rows = [
        (run, {**drop, "split": split})
        for run, drops in by_run.items()
        for split, drop in drops.items()
    ]
    return table_of("Test sets: macro over the dimensions", "Run", columns, rows)


def settings(comparison: Comparison) -> Table:
    """The settings that differ between the runs."""
    columns = [
        Column("Setting", numeric=False),
        *(Column(name, numeric=False) for name in comparison.names),
    ]
    rows = [
        [Cell(key), *(Cell("null" if value is None else str(value)) for value in values)]
        for key, values in comparison.differing.items()
    ]
    return Table("Settings that differ", columns, rows)


def _forest(comparison: Comparison) -> Markup | None:
    marks_of = kind_of(comparison).marks
    if marks_of is None:
        return None
    names = comparison.names[: len(LOOKS)]
    keys = list(comparison.dimensions)[: plots.MOST_ROWS]
    series = {name: marks_of(comparison.summaries[name], keys) for name in names}
    rows = [*(comparison.dimensions[key] for key in keys), "Macro"]
    label = "Pearson by dimension and run; the tables below hold the same figures."
    looks = dict(zip(names, LOOKS, strict=False))
    return plots.forest("comparison", label, rows, series, looks, "Pearson")
