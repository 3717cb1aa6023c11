"""The report of one run: a single self-contained HTML file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from dramaeval.config.task_schema import held_out_splits
from dramaeval.data.problems import counted
from dramaeval.data.records import Record
from dramaeval.evaluation.dimension_arrays import cluster_names, dimension_arrays, nearest_step
from dramaeval.evaluation.predictions import PHASES, Prediction
from dramaeval.evaluation.report import control_tables, plots, sections
from dramaeval.evaluation.report import summary_text as words
from dramaeval.evaluation.report.markup import shortened
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
from dramaeval.evaluation.score_spread import thought_text, wording_text

MOST_PICTURED = 30
"""Maximum number of dimensions with figures; the tables have all dimensions."""

MOST_SCORES = 12
"""On scales with more scores, only scores with a rating or a share of at least `SMALLEST_SHARE` are listed."""

SMALLEST_SHARE = 0.02


def render(findings: Findings) -> str:
    """Render the page (see `render_run_page`)."""
    disagreements = worst_cases(findings.predictions, findings.records, relative_gap)
    return render_run_page(
        "run.html.j2",
        _context(findings),
        "worst",
        lambda clips: [_disagreement(*case, findings, clips) for case in disagreements],
        [r for record, _ in disagreements for r in (record, *reference_clips(record))],
        findings.max_seconds,
    )


def relative_gap(prediction: Prediction) -> float | None:
    """Expected score − mean rating, in ranges of the scale; None without one of the two."""
    if prediction.expected is None or prediction.mean_rating is None:
        return None
    scale = prediction.scale
    return (prediction.expected - prediction.mean_rating) / (scale[-1] - scale[0])


def _context(findings: Findings) -> dict[str, Any]:
    metrics, split, titles = findings.metrics, findings.split, findings.titles
    phases = phases_of(metrics, split)
    phase, judge = list(phases.items())[-1]
    gain = (metrics.get("gain") or {}).get(split)
    controls = (metrics.get("controls") or {}).get(split)
    sliced, missing = sections.slices((metrics.get("slices") or {}).get(split) or {})
    caption = f"{split}: {PHASES[phase]}, {counted(judge['macro']['n'], 'answer')}"
    context: dict[str, Any] = {
        **page_context(findings),
        "summary": [
            *words.summary(split, phases, gain, titles),
            *filter(None, [wording_text(judge), thought_text(judge)]),
            *(words.drop_text(*drop) for drop in words.drops_of(metrics, split, phase)),
        ],
        "scales": [
            note for key, note in (metrics["about"].get("scales") or {}).items() if key in titles
        ],
        "split": split,
        "has_before": len(phases) > 1,
        "forest": _forest(phases, titles),
        "forest_note": plots.limit_note(len(judge["dimensions"]), plots.MOST_ROWS, "dimensions"),
        "agreement": sections.agreement(phases, gain, titles, caption),
        "further": sections.further(judge, titles),
        "published": sections.published(
            {PHASES[phase]: summary.get("published") or {} for phase, summary in phases.items()}
        ),
        "other_splits": [
            sections.agreement(phases_of(metrics, other), None, titles, f"{other}: the same")
            for other in held_out_splits(metrics)
            if other != split and phases_of(metrics, other)
        ],
        "test_sets": sections.test_sets(metrics, phase),
        "people": sections.people(judge, titles),
        "systems": sections.systems(judge, titles),
        "controls": control_tables.controls(controls) if controls else None,
        "audio_use": words.audio_use(controls) if controls else [],
        "controls_plot": _controls_plot(controls) if controls else None,
        "phrasing": control_tables.phrasing(controls or {}, titles),
        "changes": control_tables.changes(controls or {}, titles),
        "dimensions": _dimensions(findings, judge),
        "pictures_note": _pictures_note(judge),
        "calibration": sections.calibration(judge, titles),
        "slices": sliced,
        "no_slices": missing,
    }
    context["contents"] = contents(
        {
            "summary": ("Summary", True),
            "agreement": ("Agreement", True),
            "controls": ("Audio", bool(controls)),
            "plots": ("Plots", True),
            "calibration": ("Calibration", True),
            "slices": ("Slices", bool(sliced or missing)),
            "training": ("Training", bool(context["curves"])),
            "worst": ("Worst", bool(findings.predictions)),
            "run": ("Run", True),
        }
    )
    return context


def phases_of(metrics: Mapping[str, Any], split: str) -> dict[str, Any]:
    """The summaries of a split by phase, in the order of the phases."""
    summaries = metrics.get(split) or {}
    return {phase: summaries[phase] for phase in PHASES if phase in summaries}


def _forest(phases: Mapping[str, Any], titles: Mapping[str, str]) -> Markup:
    judge = list(phases.values())[-1]
    keys = list(judge["dimensions"])[: plots.MOST_ROWS]
    looks = {
        "zero-shot": (plots.BEFORE, "D"),
        "judge": (plots.JUDGE, "o"),
        "ceiling": (plots.CEILING, "|"),
    }
    series = {}
    if len(phases) > 1:
        series["zero-shot"] = sections.pearson_marks(phases["zero_shot"], keys)
    series["judge"] = sections.pearson_marks(judge, keys)
    parts = [*(judge["dimensions"][key] for key in keys), judge["macro"]]
    series["ceiling"] = [plots.Interval(part["ceiling"]["pearson"]) for part in parts]
    rows = [*(titles.get(key, key) for key in keys), "Macro"]
    label = "Pearson correlation with people by dimension; the table below holds the same figures."
    return plots.forest("forest", label, rows, series, looks, "Pearson")


def _controls_plot(controls: Mapping[str, Any]) -> Markup | None:
    gains = {
        name.replace("_", " "): control["gain"]["macro"]["pearson"]
        for name, control in controls.items()
        if control["gain"] and control["gain"]["macro"]["pearson"]
    }
    if not gains:
        return None
    marks = [plots.Interval(gain["difference"], gain["interval"]) for gain in gains.values()]
    label = "Gain in macro Pearson over each control; the table below holds the same figures."
    series, looks = {"gain": marks}, {"gain": (plots.JUDGE, "o")}
    return plots.forest("controls-plot", label, list(gains), series, looks, "gain in Pearson")


def _pictured(judge: Mapping[str, Any]) -> list[str]:
    """Keys of the dimensions with figures: all, or those with the highest and the lowest Pearson."""
    dimensions = judge["dimensions"]
    if len(dimensions) <= MOST_PICTURED:
        return list(dimensions)
    defined = [key for key, values in dimensions.items() if values["pearson"] is not None]
    defined.sort(key=lambda key: dimensions[key]["pearson"])
    half = MOST_PICTURED // 2
    extremes = {*defined[:half], *defined[-half:]}
    return [key for key in dimensions if key in extremes]


def _pictures_note(judge: Mapping[str, Any]) -> str:
    dimensions = len(judge["dimensions"])
    if dimensions <= MOST_PICTURED:
        return ""
    return (
        f"The figures show the {len(_pictured(judge))} dimensions with the highest and the lowest Pearson of "
        f"{dimensions:,}; the tables have all of them."
    )


def _dimensions(findings: Findings, judge: Mapping[str, Any]) -> list[dict[str, Any]]:
    clusters = cluster_names(findings.predictions)
    dimensions = []
    for index, key in enumerate(_pictured(judge)):
        on_dimension = [p for p in findings.predictions if p.dimension == key]
        arrays = dimension_arrays(key, on_dimension, clusters)
        if not arrays.n:
            continue
        title, pearson = findings.titles.get(key, key), judge["dimensions"][key]["pearson"]
        # A key may contain characters that are not allowed in an HTML id; an index does not.
        pictures = [
            plots.scatter(f"scatter-{index}", title, arrays),
            plots.distributions(f"shares-{index}", title, arrays),
            plots.calibration(f"calibration-{index}", title, arrays),
        ]
        value = "not defined" if pearson is None else shown(pearson)
        caption, drawn = f"Pearson {value}, n = {arrays.n:,}", list(filter(None, pictures))
        dimensions.append({"title": title, "caption": caption, "pictures": drawn})
    return dimensions


def _disagreement(
    record: Record, prediction: Prediction, findings: Findings, clips: Mapping[str, str]
) -> dict[str, Any]:
    expected, mean = prediction.expected or 0.0, prediction.mean_rating or 0.0
    shares = prediction.distribution or [None] * len(prediction.scale)
    ratings = np.array([rating for rating in prediction.ratings if rating is not None])
    counts = Counter(nearest_step(ratings, np.array(prediction.scale)).tolist())
    no_audio = "The judge takes no audio; the clip was not decoded."
    return {
        "id": record.id,
        "system": record.system,
        "dimension": findings.titles.get(prediction.dimension, prediction.dimension),
        "expected": shown(expected),
        "mean": shown(mean),
        "gap": f"{shown(abs(expected - mean))} too {'high' if expected > mean else 'low'}",
        "sound": clips.get(record.id),
        "reference": reference_player(record, clips),
        "no_sound": NO_SOUND if record.seconds > 0 else no_audio,
        "texts": [
            (
                field.removeprefix("char_").removeprefix("local_").replace("_", " ").capitalize(),
                shortened(text, MOST_TEXT),
            )
            for field in findings.text_fields
            if (text := record.text(field))
        ],
        "thoughts": _thoughts(prediction),
        "ratings": _ratings_text(prediction),
        "scores": [
            {"score": f"{score:g}", "share": share, "raters": counts[step]}
            for step, (score, share) in enumerate(zip(prediction.scale, shares, strict=True))
            if len(shares) <= MOST_SCORES or counts[step] or (share or 0.0) >= SMALLEST_SHARE
        ],
    }


def _thoughts(prediction: Prediction) -> list[tuple[str, str]]:
    """The kept thoughts; if several are sampled, each with the score after it."""
    texts = prediction.thought_texts or ()
    if prediction.thoughts is None:
        return [("", shortened(text, MOST_TEXT)) for text in texts]
    scores = ["no score" if score is None else shown(score) for score in prediction.thoughts]
    return [(score, shortened(text, MOST_TEXT)) for score, text in zip(scores, texts, strict=True)]


def _ratings_text(prediction: Prediction) -> str:
    """The ratings as text; or the mean rating, with standard deviation and number of ratings if they are known."""
    ratings = ", ".join("–" if r is None else f"{r:g}" for r in prediction.ratings)
    info = prediction.raters
    if not info.mean_only:
        return ratings
    std = None if info.std is None else f"standard deviation {info.std:g}"
    count = None if info.count is None else f"{info.count} ratings"
    return ", ".join(filter(None, (f"mean {ratings}", std, count)))
