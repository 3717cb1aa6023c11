"""The report of a run that compares pairs of clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dramaeval.data.records import Record
from dramaeval.evaluation.metrics.calibration import CalibrationBin
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.markup import shortened
from dramaeval.evaluation.report.pair_board import (
    CAPTION,
    board_forest,
    board_sentences,
    board_tables,
)
from dramaeval.evaluation.report.pair_tables import (
    CALIBRATION,
    ORDER,
    TRIPLES,
    agreement,
    gain_sentence,
    metric_table,
    pair_sentences,
    slice_table,
)
from dramaeval.evaluation.report.shared_context import (
    MOST_TEXT,
    NO_SOUND,
    Findings,
    contents,
    page_context,
    reference_clips,
    reference_player,
    render_run_page,
    worst_cases,
)
from dramaeval.evaluation.report.tables import shown


def render_pairs(findings: Findings) -> str:
    """Render the page (see `render_run_page`)."""
    worst = worst_cases(findings.predictions, findings.records, vote_gap)
    return render_run_page(
        "pairs.html.j2",
        _context(findings),
        "worst",
        lambda clips: [_shown(*pair, findings, clips) for pair in worst],
        [r for record, _ in worst for r in (*_singles(record), *reference_clips(record))],
        findings.max_seconds,
    )


def vote_gap(prediction: PairPrediction) -> float | None:
    """p_a − p_b minus the mean vote, from −2 to 2; None without votes."""
    if prediction.mean_vote is None:
        return None
    return prediction.p_a - prediction.p_b - prediction.mean_vote


def _singles(record: Record) -> list[Record]:
    """Split a pair into records of one clip, whose ids name the side."""
    return [
        replace(single, id=_clip_id(record, side))
        for side, single in zip("ab", record.single_clips(), strict=False)
    ]


def _clip_id(record: Record, side: str) -> str:
    return f"{record.id}\0{side}"


def _context(findings: Findings) -> dict[str, Any]:
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
            table for name, by_phase in every.items() for table in agreement(name, by_phase, titles)
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
        return {
            "systems": why,
            "system_tables": [],
            "forest": None,
            "caption": "",
            "forest_note": "",
        }
    return {
        "systems": board_sentences(board),
        "system_tables": list(board_tables(board, titles).values()),
        "forest": board_forest(board),
        "caption": CAPTION,
        "forest_note": plots.limit_note(len(board["systems"]), plots.MOST_ROWS, "systems"),
    }


def _shown(
    record: Record, prediction: PairPrediction, findings: Findings, clips: Mapping[str, str]
) -> dict[str, Any]:
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
