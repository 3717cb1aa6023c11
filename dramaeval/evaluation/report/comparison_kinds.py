"""Metrics, titles and phrases of a comparison's page, for runs that score clips and for runs that judge pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dramaeval.evaluation.report import plots, sections
from dramaeval.evaluation.report.pair_tables import AGREEMENT, CALIBRATION, pair_notes
from dramaeval.evaluation.report.side_by_side import MAIN, Comparison, PairComparison
from dramaeval.evaluation.report.tables import Column, Columns, Table, count_of, number

Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ComparisonKind:
    """The figures that a comparison shows.

    Attributes:
        title: kind of the page.
        main: key and title of the metric in which every two runs are compared.
        error: key and title of an error whose difference the overview also has; a negative difference is better.
        answers: key of the number of answers in the macro, and the singular noun for an answer.
        base: name of the main metric in the sentence about the first run.
        undefined: phrase about a run without a difference in the main metric.
        every_two: caption of the table of every two runs, title of its differences, and how p is adjusted.
        mean: caption of the overview, and title of the row of the mean over dimensions in other tables.
        overview: columns of the overview before the differences.
        counts: columns of the overview after the differences; the tables by dimension have the first of them too.
        metrics: titles of the metrics with a table by dimension, by key.
        beside: further columns of the tables by dimension, by key of the metric.
        notes: makes the notes below the overview from the results of the first run.
        each_run: makes tables of every single run, by the prefix of their key.
        marks: makes the marks of the forest plot from the results of a run; None for no plot.
    """

    title: str
    main: tuple[str, str]
    error: tuple[str, str]
    answers: tuple[str, str]
    base: str
    undefined: str
    every_two: tuple[str, str, str]
    mean: tuple[str, str]
    overview: Columns
    counts: Columns
    metrics: Mapping[str, str]
    beside: Mapping[str, Columns] = field(default_factory=dict)
    notes: Callable[[Values], list[str]]
    each_run: Mapping[str, Callable[[Values, Mapping[str, str]], Table]] = field(
        default_factory=dict
    )
    marks: Callable[[Values, Sequence[str]], list[plots.Interval]] | None = None


SCORES = ComparisonKind(
    title="dramaeval comparison",
    main=("pearson", "Pearson"),
    error=("mse", "MSE"),
    answers=("n", "answer"),
    base="macro Pearson",
    undefined="the correlation of one of the two runs is undefined",
    every_two=("Every pair", "Difference in Pearson", "Benjamini & Yekutieli over the pairs"),
    mean=("Macro over the dimensions", "Macro"),
    overview=sections.metric_columns(
        {
            "pearson": Column("Pearson"), "spearman": Column("Spearman"), "mse": Column("MSE"),
            "ccc": Column("CCC"), "ece": Column("ECE"),
        }
    ),
    counts={Column("n"): count_of("n"), Column("Unscored"): count_of("unscored")},
    metrics={
        "pearson": "Pearson", "spearman": "Spearman", "kendall": "Kendall's tau-b", "mse": "MSE", "mae": "MAE",
        "ccc": "CCC",
    },
    beside={"pearson": {sections.CEILING: lambda values: number(values["ceiling"]["pearson"])}},
    notes=sections.notes,
    each_run={"further": sections.further, "calibration": sections.calibration},
    marks=sections.pearson_marks,
)  # fmt: skip


_PAIR_METRICS = {
    MAIN: AGREEMENT[MAIN],
    "accuracy": AGREEMENT["accuracy"],
    "cross_entropy": CALIBRATION["cross_entropy"],
}
PAIRS = ComparisonKind(
    title="dramaeval comparison of judges of pairs",
    main=(MAIN, "Accuracy without ties"),
    error=("cross_entropy", "Cross-entropy"),
    answers=("voted", "comparison"),
    base="accuracy without ties",
    undefined="the raters prefer no clip of any pair that both judge",
    every_two=(
        "Every two runs",
        "Difference in accuracy without ties",
        "Benjamini & Yekutieli over the rows",
    ),
    mean=("Mean over the dimensions", "Mean"),
    overview={
        **sections.metric_columns(
            {**_PAIR_METRICS, "auroc": AGREEMENT["auroc"], "ece": CALIBRATION["ece"]}
        ),
        Column("Raters without ties", help="each vote against the other votes of the same pair"): (
            lambda values: number(values["ceiling"][MAIN])
        ),
    },
    counts={Column("Pairs"): count_of("pairs")},
    metrics={name: column.title for name, column in _PAIR_METRICS.items()},
    notes=pair_notes,
)  # fmt: skip


def kind_of(comparison: Comparison) -> ComparisonKind:
    """`PAIRS` for a comparison of runs that judge pairs, else `SCORES`."""
    return PAIRS if isinstance(comparison, PairComparison) else SCORES
