"""The tables about controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dramaeval.evaluation.report.sections import difference_cell
from dramaeval.evaluation.report.tables import (
    NOTHING,
    Cell,
    Column,
    Columns,
    Table,
    count,
    count_of,
    number,
    table_of,
    with_interval,
)


def controls(controls_by_name: Mapping[str, Any]) -> Table:
    """The gain of the judge over each control."""
    columns = [
        Column("Control", numeric=False),
        Column("Description", numeric=False),
        Column("Pearson of the control"),
        Column("Gain", help="judge − control in Pearson, paired"),
        Column("p", help="permutation test of the gain"),
        Column("Difference in MSE", help="judge − control: below zero the judge is better"),
        Column("Records × dimensions"),
    ]
    rows = []
    for name, control in controls_by_name.items():
        title, gain = name.replace("_", " "), control["gain"]
        if gain is None:
            undefined = [Cell(NOTHING, missing=str(control["reason"]))] * 4
            description = Cell(f"{control['what']}; not available: {control['reason']}")
            rows.append([Cell(title), description, *undefined, count(0)])
            continue
        pearson, error = gain["macro"]["pearson"], gain["macro"]["mse"]
        missing = "the correlation of a constant is undefined"
        if error is None:  # without a score there is no error either
            missing = "no clip is scored by both"
        rows.append(
            [
                Cell(title),
                Cell(control["what"]),
                number(pearson and pearson["b"], missing=missing),
                difference_cell(pearson, missing=missing),
                number(pearson and pearson["p"], 4, missing=missing),
                difference_cell(error, missing),
                count(gain["records"]),
            ]
        )
    return Table("Controls", columns, rows)


def changes(controls_by_name: Mapping[str, Any], titles: Mapping[str, str]) -> list[Table]:
    """How much scores change under changes of clip and text: a table for each control that measures it."""
    columns = [
        Column("Change", numeric=False),
        Column("Dimension", numeric=False, help="on which the scores move most"),
        Column("Mean shift", help="changed − unchanged, in score units, with its interval"),
        Column("Spread", help="standard deviation of the differences"),
        Column("Rank correlation", help="Spearman between the scores before and after the change"),
        Column("Lowest rank correlation", help="over all dimensions"),
        Column("n"),
    ]
    tables = []
    for name, control in controls_by_name.items():
        if not (measured := control.get("changes")):
            continue
        rows = []
        for change, by_dimension in measured["by_change"].items():
            scored = {key: values for key, values in by_dimension.items() if values["n"]}
            if not scored:
                continue
            key, values = max(scored.items(), key=lambda item: abs(item[1]["shift"]))
            correlations = [values["rank_correlation"] for values in scored.values()]
            defined = [value for value in correlations if value is not None]
            rows.append(
                [
                    Cell(change),
                    Cell(titles.get(key, key) + (" (declared)" if values["expected"] else "")),
                    with_interval(values["shift"], values["interval"], sign=True),
                    number(values["spread"]),
                    number(values["rank_correlation"]),
                    number(min(defined, default=None)),
                    count(values["n"]),
                ]
            )
        title = f"{name.replace('_', ' ').capitalize()}: {measured['records']} records"
        tables.append(Table(title, columns, rows))
    return tables


def phrasing(controls: Mapping[str, Any], titles: Mapping[str, str]) -> Table | None:
    """How much scores vary over the wordings of a question; None if it was not measured."""
    spread = controls.get("phrasing", {}).get("spread")
    if not spread:
        return None
    columns: Columns = {
        Column("Spread", help="standard deviation of a clip's score between wordings"): (
            lambda values: number(values["mean_deviation"])
        ),
        Column("Largest range", help="largest difference between two wordings of one clip"): (
            lambda values: number(values["largest_range"])
        ),
        Column("n"): count_of("n"),
    }
    rows = ((titles.get(key, key), values) for key, values in spread["dimensions"].items())
    return table_of(f"Spread over {spread['phrasings']} wordings", "Dimension", columns, rows)
