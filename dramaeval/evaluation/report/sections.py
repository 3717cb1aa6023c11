"""The tables of one run, from metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dramaeval.config.task_schema import test_splits
from dramaeval.evaluation.agreement_table import interval_notes, missing_notes
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Columns,
    Table,
    count,
    count_of,
    number,
    table_of,
    with_interval,
    yes_or_no,
)

Summary = Mapping[str, Any]
Titles = Mapping[str, str]

DIMENSION = Column("Dimension", numeric=False)
CEILING = Column("Ceiling", help="Pearson of one rater with the mean of the others")


def agreement(
    phases: Mapping[str, Summary], gain: Summary | None, titles: Titles, caption: str
) -> Table:
    """For each dimension: the correlation, the zero-shot correlation, the gain, the human ceiling and counts."""
    phase, summary = list(phases.items())[-1]
    before = phases.get("zero_shot") if phase != "zero_shot" else None
    columns = [
        DIMENSION,
        Column("Pearson", help="correlation of the judge's expected score with the mean rating"),
        *([Column("Zero-shot", help="the same before training")] if before else []),
        *([Column("Gain", help="final − zero-shot, paired")] if gain else []),
        CEILING,
        Column("Spearman"),
        Column("Kendall", help="tau-b"),
        Column("MSE", help="mean squared error"),
        Column("n", help="records both scored and rated"),
        Column("Unscored"),
        Column("Unrated", help="records without any rating"),
    ]

    def row(title: str, key: str | None) -> list[Cell]:
        def part(results: Summary) -> Summary:
            return results["macro"] if key is None else results["dimensions"].get(key) or {}

        values = part(summary)
        return [
            Cell(title),
            metric_cell(values, "pearson"),
            *([metric_cell(part(before), "pearson")] if before else []),
            *([difference_cell(part(gain).get("pearson"))] if gain else []),
            number(values["ceiling"]["pearson"]),
            *(metric_cell(values, name) for name in ("spearman", "kendall", "mse")),
            *(count(values[name]) for name in ("n", "unscored", "missing")),
        ]

    rows = [row(titles.get(key, key), key) for key in summary["dimensions"]]
    foot = row("Macro", None)
    return Table(caption, columns, rows, [foot], notes(summary))


def test_sets(metrics: Summary, phase: str) -> Table | None:
    """The macro figures of every test set, and the differences from the first; None for a single test set."""
    drops = metrics.get("drop")
    if not drops:
        return None
    columns = [
        Column("Test set", numeric=False),
        Column("Pearson"),
        Column("Difference", help="from the first set; different records, so not paired"),
        CEILING,
        Column("Spearman"),
        Column("MSE"),
        Column("Difference in MSE"),
        Column("n"),
    ]
    rows = []
    for split in test_splits(metrics):
        macro = metrics[split][phase]["macro"]
        drop = drops[split][phase]["macro"] if split in drops else {}
        missing = "" if split in drops else "the first set"
        rows.append(
            [
                Cell(split),
                metric_cell(macro, "pearson"),
                difference_cell(drop.get("pearson"), missing),
                number(macro["ceiling"]["pearson"]),
                metric_cell(macro, "spearman"),
                metric_cell(macro, "mse"),
                difference_cell(drop.get("mse"), missing),
                count(macro["n"]),
            ]
        )
    return Table("Test sets: macro over the dimensions", columns, rows)


def further(summary: Summary, titles: Titles) -> Table:
    """The other metrics of agreement; a metric that is undefined on all dimensions is left out."""
    columns = {
        "ccc": Column("CCC", help="Lin's concordance: 1 only where the scores themselves agree"),
        "mae": Column("MAE", help="mean absolute error"),
        "accuracy": Column(
            "Accuracy", help="share of rounded scores equal to the rounded mean rating"
        ),
        "qwk": Column("QWK", help="quadratic weighted kappa of rounded scores"),
        "auroc": Column("AUROC"),
        "balanced_accuracy": Column("Balanced accuracy"),
        "f1": Column("F1"),
    }
    return _metrics("Further agreement", columns, summary, titles)


PUBLISHED_NOTE = (
    "Pairs of record × dimension are pooled, so that differences between the means of the dimensions count as "
    "agreement, and missing ratings count as scores. Compare these figures with published ones only."
)


def published(
    figures_of: Mapping[str, Summary], head: str = "Phase", further: Sequence[str] = ()
) -> Table | None:
    """The pooled agreement by the published conventions; None if it was not computed.

    Args:
        figures_of: results of `published_figures` by phase or run.
        head: title of the column of phases or runs.
        further: more notes below the table.
    """
    columns = [
        Column("Way of counting", numeric=False),
        Column(head, numeric=False),
        Column("Pearson", help="over all pairs of record × dimension"),
        Column("Spearman"),
        Column("MAE", help="mean absolute error"),
        Column("RMSE", help="root of the mean squared error"),
        Column("Pairs"),
        Column("Unscored", help="questions without a score, which count as 3 or 1"),
        Column("Not asked", help="rated pairs that the judge was not asked about"),
    ]
    rows = [
        [
            Cell(f"{way.replace('_', '-')} scripts"),
            Cell(name),
            with_interval(figures["pearson"], figures["interval"]["pearson"], 3),
            *(number(figures[key], 3) for key in ("spearman", "mae", "rmse")),
            *(count(figures[key]) for key in ("n", "unscored_replaced", "not_asked")),
        ]
        for name, ways in figures_of.items()
        for way, figures in ways.items()
    ]
    notes = [PUBLISHED_NOTE, *further]
    return Table("Counted as published", columns, rows, notes=notes) if rows else None


def calibration(summary: Summary, titles: Titles) -> Table:
    """Bias, variance and calibration of the judge."""
    columns = {
        "bias": Column("Bias", help="judge − people, in score units"),
        "variance_ratio": Column(
            "Variance ratio", help="variance of the judge's scores over people's"
        ),
        "ece": Column("ECE", help="expected calibration error of the distribution"),
        "predicted_spread": Column("Judge's spread", help="of its distributions, in score units"),
        "rater_spread": Column("Raters' spread", help="between raters of one clip, in score units"),
        "spread_correlation": Column(
            "Spread r", help="correlation of the judge's spread with the raters' spread over clips"
        ),
    }
    return _metrics("Calibration", columns, summary, titles)


def _metrics(
    caption: str, available: Mapping[str, Column], summary: Summary, titles: Titles
) -> Table:
    """The metrics that are defined on at least one dimension, one column each."""
    parts = [*summary["dimensions"].values(), summary["macro"]]
    names = [name for name in available if any(part.get(name) is not None for part in parts)]
    columns: Columns = {
        **metric_columns({name: available[name] for name in names}),
        Column("n"): count_of("n"),
        Column("Unscored"): count_of("unscored"),
    }
    rows = ((titles.get(key, key), values) for key, values in summary["dimensions"].items())
    return table_of(caption, "Dimension", columns, rows, [("Macro", summary["macro"])])


def people(summary: Summary, titles: Titles) -> Table:
    """The agreement between raters."""
    columns = [
        DIMENSION,
        CEILING,
        Column("Raters", help="number of raters with enough ratings for the ceiling"),
        Column("Alpha", help="Krippendorff's, ordinal"),
        Column(
            "Winning rate",
            help="alternative annotator test: share of raters that the judge is as good as",
        ),
        Column(
            "Advantage",
            help="how often the judge is at least as close to the other raters as the rater left out",
        ),
        Column("Replaces a rater", numeric=False, help="yes from a winning rate of 0.5 on"),
        Column("Ratings"),
        Column("Missing ratings"),
    ]
    rows = []
    for key, values in summary["dimensions"].items():
        ceiling, test = values["ceiling"], values["alternative_annotator"]
        bounds = (ceiling.get("interval") or {}).get("pearson")
        reasons, why = ceiling["undefined"], str(test.get("undefined", ""))
        rows.append(
            [
                Cell(titles.get(key, key)),
                with_interval(ceiling["pearson"], bounds, missing=reasons.get("pearson", "")),
                count(ceiling["raters_used"]),
                number(
                    ceiling["krippendorff_alpha"], missing=reasons.get("krippendorff_alpha", "")
                ),
                number(test["winning_rate"], missing=why),
                number(test["advantage_probability"], missing=why),
                yes_or_no(test["passed"], why),
                count(values["ratings"]),
                count(values["ratings_missing"]),
            ]
        )
    return Table("People", columns, rows)


def systems(summary: Summary, titles: Titles) -> Table | None:
    """The agreement of judge and people on the order of systems; None if no record names a system."""
    names = ("pearson", "kendall", "pairwise_accuracy", "soft_pairwise_accuracy")
    heads = ("Pearson", "Kendall", "Pairwise accuracy", "Soft pairwise accuracy")
    rows = [
        [
            Cell(titles.get(key, key)),
            *(number(values["system_level"].get(name)) for name in names),
            count(values["system_level"]["systems"]),
            count(values["system_level"]["n"]),
        ]
        for key, values in summary["dimensions"].items()
        if "system_level" in values
    ]
    if not rows:
        return None
    columns = [DIMENSION, *(Column(head) for head in heads), Column("Systems"), Column("n")]
    macro = summary["macro"]["system_level"]
    foot = [Cell("Macro"), *(number(macro.get(name)) for name in names), Cell(""), Cell("")]
    return Table("Systems", columns, rows, [foot])


def slices(slices_by_name: Mapping[str, Any]) -> tuple[list[Table], list[str]]:
    """A table for each division into slices, and the reason for each division without slices."""
    tables, missing = [], []
    for name, division in slices_by_name.items():
        title = name.replace("_", " ").capitalize()
        if "undefined" in division:
            missing.append(f"{title}: {division['undefined']}.")
            continue
        columns: Columns = {
            **{
                Column(heading): partial(_slice_cell, name=metric)
                for metric, heading in (("pearson", "Pearson"), ("mse", "MSE"), ("bias", "Bias"))
            },
            Column("Records"): count_of("records"),
            Column("Unscored", help="answers"): count_of("unscored"),
            Column("Groups", help="groups of records that the bootstrap draws"): count_of(
                "clusters"
            ),
            Column("Dimensions", help="on which Pearson is defined"): (
                lambda part: count(part["dimensions"]["pearson"])
            ),
        }
        tables.append(table_of(title, title, columns, division["values"].items()))
    return tables, missing


def _slice_cell(part: Summary, name: str) -> Cell:
    return with_interval(part["macro"][name], part["interval"][name])


def notes(summary: Summary) -> list[str]:
    """Notes below a table: the intervals, other units, and undefined or missing values."""
    lines = interval_notes(summary["bootstrap"])
    if units := summary["macro"].get("units"):
        shown_names = " and ".join(name.upper() for name in units if name in ("mse", "mae"))
        lines.append(
            f"The scales have different ranges: {shown_names or 'errors'} and bias of the macro are counted in ranges "
            "of the scales."
        )
    return lines + missing_notes(summary)


def metric_columns(columns: Mapping[str, Column]) -> Columns:
    """Columns of `metric_cell`, from columns by the key of the metric."""
    return {column: partial(metric_cell, name=name) for name, column in columns.items()}


def metric_cell(values: Summary, name: str) -> Cell:
    """The cell of a metric with its interval; without a value, of a dash with the reason."""
    bounds = (values.get("interval") or {}).get(name)
    reason = "does not apply to this scale"
    if not values:
        reason = "not evaluated"
    elif "dimensions_defined" in values:  # a mean over dimensions
        reason = "not defined on any dimension"
    reason = (values.get("undefined") or {}).get(name, reason)
    return with_interval(values.get(name), bounds, missing=str(reason))


def pearson_marks(summary: Summary, keys: Sequence[str]) -> list[plots.Interval]:
    """The marks of a forest plot: Pearson on each dimension, then the macro."""
    parts = [*(summary["dimensions"][key] for key in keys), summary["macro"]]
    return [plots.Interval(part["pearson"], part["interval"].get("pearson")) for part in parts]


def difference_cell(entry: Summary | None, missing: str = "") -> Cell:
    """The cell of a difference (`Difference.as_dict`) with its interval; ``missing`` is the reason without one."""
    if entry is None:
        return number(None, missing=missing or "undefined for one of the two")
    return with_interval(entry["difference"], entry["interval"], sign=True)
