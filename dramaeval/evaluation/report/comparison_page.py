"""The page of a comparison, and its tables and sentences for a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from dramaeval.evaluation.report import plots, sections
from dramaeval.evaluation.report.markup import render_page
from dramaeval.evaluation.report.run_page import first_of
from dramaeval.evaluation.report.side_by_side import Comparison
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Table,
    count,
    first_rows,
    number,
    shown,
    with_interval,
)

#: Colours and markers of the first runs; with more of them, the figure shows these alone.
LOOKS = (
    ("#0072B2", "o"), ("#B34700", "s"), ("#00724E", "^"), ("#8C4A78", "D"), ("#1b1f24", "v"),
    ("#7A6000", "P"),
)  # fmt: skip
_SHOWN = {
    "pearson": "Pearson",
    "spearman": "Spearman",
    "kendall": "Kendall's tau-b",
    "mse": "MSE",
    "mae": "MAE",
    "ccc": "CCC",
}


#: Tables of one run alone.
_EACH = ("further_", "calibration_")
MOST_PAIRS = 500
"""Pairs of runs that are shown; tables/pairs.csv has all of them."""
MOST_EACH = 40_000
"""Cells of the tables of single runs, all together, on a page."""


def render_comparison(
    found: Comparison, tables: Mapping[str, Table], name: str, facts: Sequence[str], config: str
) -> str:
    """The page, self-contained.

    Args:
        found: what was compared.
        tables: the bounded ones, see `shown_tables`.
        name: of the comparison.
        facts: about it, for its head.
        config: its resolved configuration, as YAML.
    """
    each = {key: table for key, table in tables.items() if key.startswith(_EACH)}
    all_each = 2 * len(found.names)
    context = {
        "title": f"{name}: comparison",
        "kind": "dramaeval comparison",
        "heading": " · ".join(found.names) if len(found.names) < 5 else name,
        "facts": facts,
        "contents": [
            ("summary", "Summary"),
            ("overview", "Overview"),
            ("dimensions", "Dimensions"),
            ("each", "Each run"),
            ("settings", "Settings"),
        ],
        "summary": sentences(found),
        "notes": found.notes,
        "forest": _forest(found),
        "forest_note": first_of(len(found.names), len(LOOKS), "runs")
        + first_of(len(found.dimensions), plots.MOST_ROWS, "dimensions"),
        "overview": [tables[key] for key in ("overview", "pairs") if key in tables],
        "dimensions": [tables[key] for key in _SHOWN],
        "each": list(each.values()),
        "each_note": ""
        if len(each) == all_each
        else f"The first {len(each):,} of {all_each:,} tables; the folder tables has all of them.",
        "settings": tables.get("settings"),
        "config": config,
    }
    return render_page("comparison.html.j2", context, style="style.css", script="sort.js")


def shown_tables(tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables as the page and the Markdown file have them: bounded, and of single runs only the first."""
    shown, room = {}, MOST_EACH
    for key, table in tables.items():
        cut = first_rows(table, f"tables/{key}.csv", MOST_PAIRS if key == "pairs" else None)
        if key.startswith(_EACH):
            room -= len(cut.columns) * len(cut.rows)
            if room < 0:
                continue
        shown[key] = cut
    return shown


def tables_of(found: Comparison) -> dict[str, Table]:
    """All tables by key, with every row."""
    tables = {"overview": overview(found)}
    if len(found.names) > 2:
        tables["pairs"] = pairs(found)
    tables |= {metric: by_dimension(found, metric) for metric in _SHOWN}
    for at, (name, summary) in enumerate(found.summaries.items(), 1):
        for kind, table in (
            ("further", sections.further(summary, found.dimensions)),
            ("calibration", sections.calibration(summary, found.dimensions)),
        ):
            tables[f"{kind}_{at}"] = replace(table, caption=f"{name}: {table.caption.lower()}")
    if found.differing:
        tables["settings"] = settings(found)
    return tables


def sentences(found: Comparison) -> list[str]:
    """Which run is better than the first, and whether that is more than chance."""
    first = found.names[0]
    base = found.summaries[first]["macro"]
    told = [f"{first} reaches {_told(base['pearson'])} macro Pearson on {base['n']:,} answers."]
    for name, made in found.against_first.items():
        entry = made["macro"]["pearson"]
        if entry is None:
            told.append(f"{name}: the correlation of one of the two is not defined.")
            continue
        bounds = entry["interval"]
        size = with_interval(entry["difference"], bounds, sign=True).plain
        if bounds is None:
            verdict = "too few groups to say more"
        elif bounds[0] > 0:
            verdict = "it is better"
        elif bounds[1] < 0:
            verdict = "it is worse"
        else:
            verdict = "no difference is shown"
        p = "" if entry["p"] is None else f", permutation p = {entry['p']:.2g}"
        told.append(f"{name} against {first}: {size}{p}; {verdict}.")
    return told


def _told(value: float | None) -> str:
    return "no defined" if value is None else shown(value)


def overview(found: Comparison) -> Table:
    """Every run's macro figures, and its difference from the first."""
    first = found.names[0]
    columns = [
        Column("Run", numeric=False),
        Column("Pearson"),
        Column("Spearman"),
        Column("MSE"),
        Column("CCC"),
        Column("ECE"),
        Column(f"Pearson − {first}", help="paired"),
        Column("p", help="permutation test"),
        Column(f"MSE − {first}", help="below zero is better"),
        Column("n"),
        Column("Unscored"),
    ]
    rows = []
    for name in found.names:
        macro = found.summaries[name]["macro"]
        made = found.against_first.get(name)
        rows.append(
            [
                Cell(name),
                *(
                    _bounded(macro, metric)
                    for metric in ("pearson", "spearman", "mse", "ccc", "ece")
                ),
                _difference(made and made["macro"]["pearson"], name == first),
                number(
                    ((made or {}).get("macro", {}).get("pearson") or {}).get("p"),
                    4,
                    missing="the first" if name == first else "",
                ),
                _difference(made and made["macro"]["mse"], name == first),
                count(macro["n"]),
                count(macro["unscored"]),
            ]
        )
    return Table(
        "Macro over the dimensions", columns, rows, notes=sections.notes(found.summaries[first])
    )


def pairs(found: Comparison) -> Table:
    """Every pair of runs."""
    columns = [
        Column("Run", numeric=False),
        Column("Against", numeric=False),
        Column("Difference in Pearson"),
        Column("p"),
        Column("Adjusted p", help="Benjamini & Yekutieli over the pairs"),
    ]
    rows = [
        [
            Cell(one["run"]),
            Cell(one["against"]),
            with_interval(one["difference"], one["interval"], sign=True),
            number(one["p"], 4),
            number(one["p_adjusted"], 4),
        ]
        for one in found.pairs
    ]
    return Table("Every pair", columns, rows)


def by_dimension(found: Comparison, metric: str) -> Table:
    """One metric: a column a run, a column a difference."""
    first, *others = found.names
    title = _SHOWN[metric]
    ceiling = metric == "pearson"
    columns = [
        Column("Dimension", numeric=False),
        *(Column(name) for name in found.names),
        *(Column(f"{name} − {first}", help="paired") for name in others),
        *([Column("Ceiling", help="Pearson of one rater with the mean of the others")] if ceiling else []),
        Column("n"),
    ]  # fmt: skip

    def row(title: str, key: str | None) -> list[Cell]:
        def of(tree: Mapping[str, Any]) -> Any:
            return tree["macro"] if key is None else tree["dimensions"][key]

        cells = [Cell(title)]
        cells += [_bounded(of(found.summaries[name]), metric) for name in found.names]
        cells += [_difference(of(found.against_first[name]).get(metric)) for name in others]
        if ceiling:
            cells.append(number(of(found.summaries[first])["ceiling"]["pearson"]))
        return [*cells, count(of(found.summaries[first])["n"])]

    rows = [row(name, key) for key, name in found.dimensions.items()]
    return Table(f"{title} by dimension", columns, rows, [row("Macro", None)])


def settings(found: Comparison) -> Table:
    """What was set differently."""
    columns = [Column("Setting", numeric=False), *(Column(n, numeric=False) for n in found.names)]
    rows = [
        [Cell(key), *(Cell("null" if value is None else str(value)) for value in values)]
        for key, values in found.differing.items()
    ]
    return Table("Settings that differ", columns, rows)


def _bounded(of: Mapping[str, Any], metric: str) -> Cell:
    bounds = (of.get("interval") or {}).get(metric)
    return with_interval(of.get(metric), bounds, missing=sections.reasons(of, metric))


def _difference(entry: Mapping[str, Any] | None, is_first: bool = False) -> Cell:
    if entry is None:
        return number(None, missing="the first" if is_first else "not defined for both")
    return with_interval(entry["difference"], entry["interval"], sign=True)


def _forest(found: Comparison) -> Markup:
    names = found.names[: len(LOOKS)]
    keys = list(found.dimensions)[: plots.MOST_ROWS]
    series = {}
    for name in names:
        summary = found.summaries[name]
        every = [*(summary["dimensions"][key] for key in keys), summary["macro"]]
        series[name] = [
            plots.Interval(one["pearson"], one["interval"].get("pearson")) for one in every
        ]
    rows = [*(found.dimensions[key] for key in keys), "Macro"]
    label = "Pearson by dimension and run; the tables below hold the same figures."
    looks = dict(zip(names, LOOKS, strict=False))
    return plots.forest("comparison", label, rows, series, looks, "Pearson")
