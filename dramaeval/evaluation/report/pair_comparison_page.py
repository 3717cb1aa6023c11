"""The page of a comparison of runs that judge pairs, with its tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.data.problems import counted
from dramaeval.evaluation.report import comparison_page, sections
from dramaeval.evaluation.report import summary_text as words
from dramaeval.evaluation.report.markup import render_page
from dramaeval.evaluation.report.pair_tables import AGREEMENT, CALIBRATION
from dramaeval.evaluation.report.pairs_side_by_side import MAIN, PairComparison
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Table,
    count,
    interval_note,
    number,
    shown,
    with_interval,
)

#: The metrics of the table of each dimension; those with a paired difference.
BY_DIMENSION = {
    MAIN: AGREEMENT[MAIN],
    "accuracy": AGREEMENT["accuracy"],
    "cross_entropy": CALIBRATION["cross_entropy"],
}
_OVERVIEW = {**BY_DIMENSION, "auroc": AGREEMENT["auroc"], "ece": CALIBRATION["ece"]}


def render_pair_comparison(
    comparison: PairComparison,
    tables: Mapping[str, Table],
    name: str,
    facts: Sequence[str],
    config: str,
) -> str:
    """The page, self-contained; the arguments are those of `comparison_page.render_comparison`."""
    names = comparison.names
    context = {
        "title": f"{name}: comparison",
        "kind": "dramaeval comparison of judges of pairs",
        "heading": " · ".join(names) if len(names) < 5 else name,
        "facts": facts,
        "contents": [
            ("summary", "Summary"),
            ("overview", "Overview"),
            ("dimensions", "Dimensions"),
            ("settings", "Settings"),
        ],
        "summary": sentences(comparison),
        "notes": comparison.notes,
        "overview": [tables[key] for key in ("overview", "pairs") if key in tables],
        "dimensions": [tables[key] for key in BY_DIMENSION],
        "forest": None,
        "each": [],
        "settings": tables.get("settings"),
        "config": config,
    }
    return render_page("comparison.html.j2", context)


def tables_of(comparison: PairComparison) -> dict[str, Table]:
    """All tables by key, with every row."""
    tables = {"overview": overview(comparison)}
    if len(comparison.names) > 2:
        tables["pairs"] = _every_two(comparison)
    tables |= {metric: by_dimension(comparison, metric) for metric in BY_DIMENSION}
    if comparison.differing:
        tables["settings"] = comparison_page.settings(comparison)
    return tables


def sentences(comparison: PairComparison) -> list[str]:
    """Whether each run is better than the first on pairs with a preference, with interval and p value."""
    first = comparison.names[0]
    macro = comparison.summaries[first]["macro"]
    value = "undefined" if macro[MAIN] is None else shown(macro[MAIN])
    lines = [f"{first}: accuracy without ties {value} on {counted(macro['voted'], 'comparison')}."]
    for name, gain in comparison.against_first.items():
        entry = gain["macro"][MAIN]
        if entry is None:
            lines.append(f"{name}: the raters prefer no clip of any pair that both judge.")
            continue
        size = with_interval(entry["difference"], entry["interval"], sign=True).plain
        p = "" if entry["p"] is None else f", permutation p = {entry['p']:.2g}"
        verdict = comparison_page.VERDICTS[words.position(entry["interval"])]
        lines.append(f"{name} against {first}: {size}{p}; {verdict}.")
    return lines


def overview(comparison: PairComparison) -> Table:
    """The macro metrics of every run, and its differences from the first run."""
    first = comparison.names[0]
    columns = [
        Column("Run", numeric=False),
        *_OVERVIEW.values(),
        Column("Raters without ties", help="each vote against the other votes of the same pair"),
        Column(f"Accuracy without ties − {first}", help="paired"),
        Column("p", help="permutation test"),
        Column(f"Cross-entropy − {first}", help="paired; below zero is better"),
        Column("Pairs"),
    ]
    rows = []
    for name in comparison.names:
        macro = comparison.summaries[name]["macro"]
        gain = comparison.against_first.get(name, {}).get("macro", {})
        missing = "the first run" if name == first else ""
        rows.append(
            [
                Cell(name),
                *(_metric(macro, metric) for metric in _OVERVIEW),
                number(macro["ceiling"][MAIN]),
                sections.difference_cell(gain.get(MAIN), missing),
                number((gain.get(MAIN) or {}).get("p"), 4, missing=missing),
                sections.difference_cell(gain.get("cross_entropy"), missing),
                count(macro["pairs"]),
            ]
        )
    bootstrap = comparison.summaries[first]["bootstrap"]
    note = interval_note(bootstrap, " of prompts", bootstrap["undefined"] or "none are asked for")
    return Table("Mean over the dimensions", columns, rows, notes=[note])


def by_dimension(comparison: PairComparison, metric: str) -> Table:
    """One metric: one column for each run and one for each difference from the first run."""
    first, *others = comparison.names
    columns = [
        sections.DIMENSION,
        *(Column(name) for name in comparison.names),
        *(Column(f"{name} − {first}", help="paired") for name in others),
        Column("Pairs"),
    ]

    def row(title: str, key: str | None) -> list[Cell]:
        def part(results: Mapping[str, Any]) -> Any:
            return results["macro"] if key is None else results["dimensions"][key]

        summaries = [part(comparison.summaries[name]) for name in comparison.names]
        gains = [part(comparison.against_first[name]) for name in others]
        return [
            Cell(title),
            *(_metric(summary, metric) for summary in summaries),
            *(sections.difference_cell(gain[metric]) for gain in gains),
            count(summaries[0]["pairs"]),
        ]

    rows = [row(title, key) for key, title in comparison.dimensions.items()]
    caption = f"{BY_DIMENSION[metric].title} by dimension"
    return Table(caption, columns, rows, [row("Mean", None)])


def _every_two(comparison: PairComparison) -> Table:
    columns = [
        Column("Run", numeric=False),
        Column("Against", numeric=False),
        Column("Difference in accuracy without ties"),
        Column("p"),
        Column("Adjusted p", help="Benjamini & Yekutieli over the rows"),
    ]
    rows = [
        [
            Cell(each["run"]),
            Cell(each["against"]),
            with_interval(each["difference"], each["interval"], sign=True),
            number(each["p"], 4),
            number(each["p_adjusted"], 4),
        ]
        for each in comparison.two
    ]
    return Table("Every two runs", columns, rows)


def _metric(values: Mapping[str, Any], metric: str) -> Cell:
    """A metric with its interval; without a value the reason."""
    reason = (values.get("undefined") or {}).get(metric, "not defined on any dimension")
    return with_interval(values[metric], values["interval"].get(metric), missing=reason)
