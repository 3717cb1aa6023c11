"""The report of a run with multiple-choice questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    PageSettings,
    contents,
    page_context,
    render_run_page,
)
from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Columns,
    Table,
    count,
    interval_note,
    number,
    shown,
    table_of,
    with_interval,
)

MOST = 10
"""Maximum number of wrong answers on the page."""


@dataclass(frozen=True, kw_only=True)
class ChoiceFindings(PageSettings):
    """The input of a report on multiple-choice questions.

    Attributes:
        predictions: the predictions of the last phase on ``split``.
    """

    predictions: Sequence[OptionPrediction]


def render_choices(findings: ChoiceFindings) -> str:
    """Render the page (see `render_run_page`)."""
    mistakes = surest_mistakes(findings.predictions, findings.records)
    return render_run_page(
        "choices.html.j2",
        _context(findings),
        "wrong",
        lambda clips: [_mistake(prediction, record, clips) for prediction, record in mistakes],
        [record for _, record in mistakes],
        findings.max_seconds,
    )


def surest_mistakes(
    predictions: Sequence[OptionPrediction], records: Sequence[Record]
) -> list[tuple[OptionPrediction, Record]]:
    """The wrong answers with the highest probabilities, in falling order, with their records."""
    by_id = {record.id: record for record in records}
    wrong = [
        p
        for p in predictions
        if p.id in by_id and p.distribution and p.answer is not None and not credit(p)
    ]
    wrong.sort(key=lambda p: (-max(p.distribution or ()), p.id))
    return [(p, by_id[p.id]) for p in wrong[:MOST]]


def _context(findings: ChoiceFindings) -> dict[str, Any]:
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
            above = bounds[0] > chance
            against += "; the difference is shown" if above else "; the difference may be chance"
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
    prediction: OptionPrediction, record: Record, clips: Mapping[str, str]
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
        "sure": shown(max(shares)),
    }
