"""The report of a run with multiple-choice questions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dramaeval.data.problems import counted
from dramaeval.data.records import Record
from dramaeval.evaluation.multiple_choice import credit
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.predictions import PHASES
from dramaeval.evaluation.report.markup import shortened
from dramaeval.evaluation.report.shared_context import (
    MOST_TEXT,
    Findings,
    contents,
    page_context,
    render_run_page,
    worst_cases,
)
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Columns,
    Table,
    count,
    interval_note,
    number,
    table_of,
    with_interval,
)


def render_choices(findings: Findings) -> str:
    """Render the page (see `render_run_page`)."""
    mistakes = worst_cases(findings.predictions, findings.records, sureness)
    return render_run_page(
        "choices.html.j2",
        _context(findings),
        "wrong",
        lambda clips: [_mistake(*mistake, clips) for mistake in mistakes],
        [record for record, _ in mistakes],
        findings.max_seconds,
    )


def sureness(prediction: OptionPrediction) -> float | None:
    """The highest probability of a wrong answer; None for other predictions."""
    if prediction.answer is None or not prediction.distribution or credit(prediction):
        return None
    return max(prediction.distribution)


def _context(findings: Findings) -> dict[str, Any]:
    choices, split = findings.metrics["choices"], findings.split
    context = page_context(findings)
    return context | {
        "contents": contents(
            {
                "summary": ("Summary", True),
                "accuracy": ("Accuracy", True),
                "training": ("Training", bool(context["curves"])),
                "wrong": ("Surest mistakes", True),
                "run": ("Run", True),
            }
        ),
        "summary": sentences(split, choices[split]),
        "tables": [accuracy(name, phases) for name, phases in choices.items()],
    }


def sentences(split: str, phases: Mapping[str, Any]) -> list[str]:
    """Describe the accuracy in sentences."""
    lines = []
    for phase, summary in phases.items():
        overall = summary["overall"]
        likelihood, chance = overall["likelihood"], overall["chance"]
        if likelihood["accuracy"] is None:
            lines.append(f"On {split}, {PHASES[phase]}: no question was scored.")
            continue
        bounds = likelihood["interval"]
        against = "chance"
        if bounds and chance is not None:
            clear = bounds[0] > chance or bounds[1] < chance
            against += "; the difference is shown" if clear else "; the difference may be chance"
        lines.append(
            f"On {split}, {PHASES[phase]}: the right option of {likelihood['accuracy']:.0%} of "
            f"{counted(likelihood['n'], 'question')} is the likeliest, against {chance or 0:.0%} by {against}."
        )
        unscored = sum(overall["unscored"].values())
        if unscored:
            lines.append(f"{unscored:,} of {overall['records']:,} questions could not be scored.")
    return lines


def accuracy(split: str, phases: Mapping[str, Any]) -> Table:
    """The accuracy overall and by category, for each phase."""

    def share(values: Mapping[str, Any], way: str, missing: str) -> Cell:
        accuracy = values.get(way) or {}
        return with_interval(accuracy.get("accuracy"), accuracy.get("interval"), missing=missing)

    def no_option(values: Mapping[str, Any]) -> Cell:
        if "written" not in values:
            return number(None, missing="nothing was written")
        return count(sum(values["written"]["no_option"].values()))

    columns: Columns = {
        Column("Judge", numeric=False): lambda values: Cell(PHASES[values["phase"]]),
        Column(
            "By likelihood",
            help="share of questions whose right option is the likeliest; n tied options count 1/n",
        ): partial(share, way="likelihood", missing="no question was scored"),
        Column("As written", help="share of questions on which the judge wrote the right option"): (
            partial(share, way="written", missing="nothing was written")
        ),
        Column("Chance"): lambda values: number(values["chance"]),
        Column("n"): lambda values: count(values["likelihood"]["n"]),
        Column("Ties"): lambda values: count(values["likelihood"]["ties"]),
        Column("No option", help="written answers that are none of the options"): no_option,
    }
    rows = [
        (name, {**values, "phase": phase})
        for phase, summary in phases.items()
        for name, values in summary["categories"].items()
    ]
    foot = [("all", {**summary["overall"], "phase": phase}) for phase, summary in phases.items()]
    note = interval_note(next(iter(phases.values()))["bootstrap"], "", "too few clips")
    return table_of(f"{split}: accuracy", "Category", columns, rows, foot, [note])


def _mistake(
    record: Record, prediction: OptionPrediction, clips: Mapping[str, str]
) -> dict[str, Any]:
    shares = prediction.distribution or ()
    return {
        "id": record.id,
        "category": prediction.category,
        "question": shortened(record.text("question_text") or record.id, MOST_TEXT),
        "sound": clips.get(record.id),
        "no_sound": "The clip is left out: the judge takes no audio, it cannot be decoded, or there was no room under 3 MB.",
        "written": shortened(prediction.written or "", MOST_TEXT),
        "options": [
            {
                "text": shortened(text, MOST_TEXT),
                "share": share,
                "right": index == prediction.answer,
            }
            for index, (text, share) in enumerate(zip(prediction.options, shares, strict=True))
        ],
    }
