"""The report of a run that compares pairs of clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dramaeval.data.records import Record
from dramaeval.evaluation.metrics.calibration import CalibrationBin
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.markup import shortened
from dramaeval.evaluation.report.pair_board import board_forest, board_sentences, board_tables
from dramaeval.evaluation.report.pair_tables import (
    AGREEMENT,
    BETWEEN_RATERS,
    CALIBRATION,
    NUMBERS,
    ORDER,
    TRIPLES,
    gain_sentence,
    metric_table,
    pair_sentences,
    slice_table,
)
from dramaeval.evaluation.report.shared_context import (
    MOST_TEXT,
    NO_SOUND,
    PageSettings,
    contents,
    page_context,
    reference_clips,
    reference_player,
    render_run_page,
)
from dramaeval.evaluation.report.tables import shown

MOST = 10
"""Maximum number of pairs on the page."""


@dataclass(frozen=True, kw_only=True)
class PairFindings(PageSettings):
    """The input of a report on pairs.

    Attributes:
        predictions: the predictions of the last phase on ``split``.
        titles: titles of the dimensions by key.
        text_fields: keys of the texts of a record that the page shows.
    """

    predictions: Sequence[PairPrediction]
    titles: Mapping[str, str]
    text_fields: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class WorstPair:
    """A pair with its prediction on the dimension on which judge and raters differ most.

    ``gap`` is p_a − p_b minus the mean vote, from −2 to 2.
    """

    record: Record
    prediction: PairPrediction
    gap: float


def render_pairs(findings: PairFindings) -> str:
    """Render the page (see `render_run_page`)."""
    worst = worst_pairs(findings.predictions, findings.records)
    return render_run_page(
        "pairs.html.j2",
        _context(findings),
        "worst",
        lambda clips: [_shown(pair, findings, clips) for pair in worst],
        [r for pair in worst for r in (*_singles(pair.record), *reference_clips(pair.record))],
        findings.max_seconds,
    )


def worst_pairs(
    predictions: Sequence[PairPrediction], records: Sequence[Record], most: int = MOST
) -> list[WorstPair]:
    """The pairs with the largest gaps, in falling order, each on the dimension with its largest gap."""
    by_id = {record.id: record for record in records}
    pairs = [
        WorstPair(record=by_id[p.id], prediction=p, gap=p.p_a - p.p_b - p.mean_vote)
        for p in predictions
        if p.mean_vote is not None and p.id in by_id
    ]
    worst: dict[str, WorstPair] = {}
    for pair in sorted(pairs, key=lambda pair: (-abs(pair.gap), pair.record.id)):
        worst.setdefault(pair.record.id, pair)
    return list(worst.values())[:most]


def _singles(record: Record) -> list[Record]:
    """Split a pair into records of one clip, whose ids name the side."""
    return [
        replace(single, id=_clip_id(record, side))
        for side, single in zip("ab", record.single_clips(), strict=False)
    ]


def _clip_id(record: Record, side: str) -> str:
    return f"{record.id}\0{side}"


def _context(findings: PairFindings) -> dict[str, Any]:
    metrics, split, titles = findings.metrics, findings.split, findings.titles
    every, phases = metrics["pairs"], metrics["pairs"][split]
    last = list(phases.values())[-1]
    systems = metrics.get("pair_systems", {}).get(split, {})
    context = page_context(findings)
    direct = last["macro"]["position_bias"] is not None
    order = [metric_table(f"{split}: order of presentation", ORDER, phases, titles)]
    return context | {
        "contents": contents(
            {
                "summary": ("Summary", True),
                "agreement": ("Agreement", True),
                "calibration": ("Calibration", True),
                "order": ("Order", True),
                "slices": ("Slices", any(last["slices"].values())),
                "systems": ("Systems", bool(systems)),
                "training": ("Training", bool(context["curves"])),
                "worst": ("Worst pairs", True),
                "run": ("Run", True),
            }
        ),
        "summary": [
            *[line for name in every for line in pair_sentences(name, every[name])],
            *filter(None, (gain_sentence(*gain) for gain in metrics.get("pair_gain", {}).items())),
        ],
        "agreement": [
            table
            for name, by_phase in every.items()
            for table in (
                metric_table(
                    f"{name}: agreement with the raters", AGREEMENT, by_phase, titles,
                    numbers=NUMBERS,
                ),
                metric_table(
                    f"{name}: agreement between raters", BETWEEN_RATERS, by_phase, titles,
                    ceiling=True,
                ),
            )
        ],
        "calibration": metric_table(f"{split}: calibration", CALIBRATION, phases, titles),
        "calibration_plots": _calibration_plots(last, titles),
        "order": order if direct else [],
        "triples": metric_table(f"{split}: cyclic triples", TRIPLES, phases, titles),
        "slices": [slice_table(split, name, values) for name, values in last["slices"].items() if values],
        **_systems(systems, titles),
    }  # fmt: skip


def _calibration_plots(
    summary: Mapping[str, Any], titles: Mapping[str, str]
) -> list[dict[str, Any]]:
    figures = []
    for place, (key, values) in enumerate(summary["dimensions"].items()):
        title, name = titles.get(key, key), f"calibration-{place}"
        curve = [CalibrationBin(**point) for point in values["calibration"]]
        if picture := plots.calibration_of(name, title, curve, "share of votes"):
            figures.append({"title": title, "picture": picture})
    return figures


def _systems(board: Mapping[str, Any], titles: Mapping[str, str]) -> dict[str, Any]:
    """The template variables of the ranking; they are empty without a board."""
    if "systems" not in board:
        why = [f"The systems are not ranked: {board['undefined']}."] if board else []
        return {"systems": why, "system_tables": [], "forest": None, "forest_note": ""}
    return {
        "systems": board_sentences(board),
        "system_tables": list(board_tables(board, titles).values()),
        "forest": board_forest(board),
        "forest_note": plots.limit_note(len(board["systems"]), plots.MOST_ROWS, "systems"),
    }


def _shown(worst: WorstPair, findings: PairFindings, clips: Mapping[str, str]) -> dict[str, Any]:
    record, prediction = worst.record, worst.prediction
    votes = ", ".join("–" if vote is None else shown(vote, 1) for vote in prediction.votes)
    sides = [
        {
            "name": name,
            "system": system,
            "file": path.name,
            "sound": clips.get(_clip_id(record, side)),
            "share": share,
        }
        for name, side, system, path, share in zip(
            "AB", "ab", (prediction.system_a, prediction.system_b), record.clips,
            (prediction.p_a, prediction.p_b), strict=False,
        )
    ]  # fmt: skip
    texts = [(key, record.text(key)) for key in findings.text_fields]
    orders = [
        f"{label}: {', '.join(f'{share:.0%}' for share in order)}"
        for label, order in (("A first", prediction.order_ab), ("B first", prediction.order_ba))
        if order
    ]
    return {
        "id": record.id,
        "title": findings.titles.get(prediction.dimension, prediction.dimension),
        "texts": [(key, shortened(text, MOST_TEXT)) for key, text in texts if text],
        "sides": sides,
        "reference": reference_player(record, clips),
        "tie": prediction.p_tie,
        "votes": votes,
        "mean_vote": shown(prediction.mean_vote or 0, sign=True),
        "margin": None if prediction.margin is None else shown(prediction.margin, sign=True),
        "orders": orders,
        "no_sound": NO_SOUND,
    }
