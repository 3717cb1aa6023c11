"""Tables and sentences about a judge that compares two clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dramaeval.data.problems import counted
from dramaeval.evaluation.predictions import PHASES
from dramaeval.evaluation.report.sections import metric_columns
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Columns,
    Table,
    count_of,
    interval_note,
    shown,
    table_of,
)

AGREEMENT = {
    "accuracy": Column(
        "Accuracy",
        help="share of pairs with the same verdict of judge and raters: a, b or tie; a tie of both is right",
    ),
    "accuracy_untied": Column(
        "Accuracy without ties",
        help="share of the pairs with a preference of the raters in which the judge prefers the same clip, as SpeechJudge counts",
    ),
    "accuracy_unanimous": Column(
        "Unanimous", help="the same on pairs whose raters, two or more, all vote for one clip"
    ),
    "auroc": Column("AUROC", help="how well the margin separates the better clip from the worse"),
    "auroc_ties": Column(
        "AUROC of ties", help="how well the size of the margin separates preferences from ties"
    ),
}
BETWEEN_RATERS = {
    "accuracy": Column(
        "Raters", help="accuracy of each vote against the other votes of the same pair"
    ),
    "judge_accuracy": Column("Judge", help="accuracy of the judge against these other votes"),
    "accuracy_untied": Column("Raters without ties", help="the same, without ties"),
    "judge_accuracy_untied": Column("Judge without ties", help="the same, without ties"),
}
CALIBRATION = {
    "ece": Column("ECE", help="calibration error of the probability that a clip is better"),
    "brier": Column("Brier", help="0 is perfect; equal probabilities give 0.67; 2 is the worst"),
    "cross_entropy": Column("Cross-entropy", help="with the votes; equal probabilities give 1.10"),
}
ORDER = {
    "position_bias": Column(
        "Bias to the first clip",
        help="P(first is better) − P(second is better), the mean of both orders; 0 is none",
    ),
    "position_consistency": Column("Same verdict", help="share of pairs, in both orders"),
    "first_favoured": Column(
        "First favoured", help="share of pairs whose first clip is better in both orders"
    ),
    "second_favoured": Column("Second favoured", help="the same of the second clip"),
}
TRIPLES = {
    "intransitive": Column(
        "Judge", help="share of triples of clips in which a beats b, b beats c and c beats a"
    ),
    "intransitive_people": Column("Raters", help="the same by the raters' verdicts"),
}
SLICES = {name: AGREEMENT[name] for name in ("accuracy", "accuracy_untied", "auroc")}

NUMBERS: Columns = {
    Column("Pairs"): count_of("pairs"),
    Column("Votes"): count_of("votes"),
    Column("Ties of raters"): count_of("raters_tie"),
    Column("Ties of judge"): count_of("judge_ties"),
}


def metric_table(
    caption: str,
    metrics: Mapping[str, Column],
    phases: Mapping[str, Any],
    titles: Mapping[str, str],
    *,
    numbers: Columns | None = None,
    ceiling: bool = False,
) -> Table:
    """Make a table of metrics by dimension and phase, with the mean over dimensions at the foot.

    Args:
        caption: caption of the table.
        metrics: columns by the key of the metric.
        phases: the results of `summarise_pairs` by phase.
        titles: titles of the dimensions by key.
        numbers: further columns.
        ceiling: whether the metrics are in the part ``ceiling`` of the results.
    """
    columns: Columns = {
        Column("Judge's phase", numeric=False): lambda part: Cell(PHASES[part["phase"]]),
        **metric_columns(metrics),
        **(numbers or {}),
    }

    def row(name: str, phase: str, values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return name, {**(values["ceiling"] if ceiling else values), "phase": phase}

    rows = [
        row(titles.get(key, key), phase, values)
        for phase, summary in phases.items()
        for key, values in summary["dimensions"].items()
    ]
    foot = [row("mean", phase, summary["macro"]) for phase, summary in phases.items()]
    notes = pair_notes(next(iter(phases.values())))
    return table_of(caption, "Dimension", columns, rows, foot, notes)


def agreement(split: str, phases: Mapping[str, Any], titles: Mapping[str, str]) -> list[Table]:
    """The agreement with the raters on a split, and that between raters (see `metric_table`)."""
    raters, between = f"{split}: agreement with the raters", f"{split}: agreement between raters"
    return [
        metric_table(raters, AGREEMENT, phases, titles, numbers=NUMBERS),
        metric_table(between, BETWEEN_RATERS, phases, titles, ceiling=True),
    ]


def pair_notes(summary: Mapping[str, Any]) -> list[str]:
    """The note about the intervals of a result of `summarise_pairs`."""
    bootstrap = summary["bootstrap"]
    return [interval_note(bootstrap, " of prompts", bootstrap["undefined"] or "none are asked for")]


def slice_table(split: str, name: str, slices: Mapping[str, Any]) -> Table:
    """The mean agreement over dimensions, by slice."""
    columns: Columns = {
        **metric_columns(SLICES),
        Column("Prompts"): count_of("prompts"),
        Column("Pairs"): count_of("pairs"),
    }
    return table_of(f"{split}: by {name}", name.capitalize(), columns, slices.items())


def pair_sentences(split: str, phases: Mapping[str, Any]) -> list[str]:
    """Describe the agreement and its limits in sentences."""
    lines = []
    for phase, summary in phases.items():
        macro, head = summary["macro"], f"On {split}, {PHASES[phase]}: "
        value, bounds = macro["accuracy_untied"], macro["interval"].get("accuracy_untied")
        if value is None:
            lines.append(f"{head}the raters prefer no clip of any judged pair.")
            continue
        against = "chance is 50%"
        if bounds:
            above = "above" if bounds[0] > 0.5 else "not shown to be above"
            against = f"interval {bounds[0]:.0%} to {bounds[1]:.0%}, {above} the 50% of chance"
        lines.append(
            f"{head}the judge prefers the raters' clip in {value:.0%} of the pairs with a preference ({against})."
        )
        lines.append(
            f"{head}with ties as a third verdict, judge and raters agree in {macro['accuracy']:.0%} of "
            f"{counted(macro['voted'], 'comparison')}."
        )
        lines += [head + line for line in (_ceiling(macro), _bias(macro)) if line]
        if unscored := summary.get("unscored"):
            lines.append(f"{head}{counted(unscored, 'comparison')} could not be scored.")
    return lines


def gain_sentence(split: str, gain: Mapping[str, Any]) -> str | None:
    """Describe the gain from training in a sentence; None if it is undefined."""
    macro = gain["macro"]["accuracy_untied"]
    if macro is None:
        return None
    text = (
        f"On {split}, training changes the share of the raters' clips that the judge prefers by "
        f"{shown(100 * macro['difference'], 1, sign=True)} points"
    )
    bounds = macro["interval"]
    if bounds is None or macro["p"] is None:
        return f"{text}; there are too few prompts for an interval."
    low, high = (shown(100 * bound, 1, sign=True) for bound in bounds)
    level = 1 - gain["bootstrap"]["level"]
    real = "not chance" if macro["p"] <= level else "which may be chance"
    return f"{text} (interval {low} to {high}, p = {macro['p']:.3f}: {real})."


def _ceiling(macro: Mapping[str, Any]) -> str | None:
    ceiling = macro["ceiling"]
    raters, judge = ceiling["accuracy_untied"], ceiling["judge_accuracy_untied"]
    if raters is None or judge is None:
        return None
    return f"a rater prefers the clip of the other raters in {raters:.0%} of these pairs, and the judge in {judge:.0%}."


def _bias(macro: Mapping[str, Any]) -> str | None:
    bias, bounds = macro["position_bias"], macro["interval"].get("position_bias")
    if bias is None:
        return None
    clear = bounds and (bounds[0] > 0 or bounds[1] < 0)
    text = f"the bias to the first clip is {shown(bias, sign=True)}"
    return f"{text}, {'which is not chance' if clear else 'which may be chance'}."
