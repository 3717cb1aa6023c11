"""The parts of every page of a run: warnings, training curves, environment, clips."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from dramaeval.data.audio import UnreadableClipError
from dramaeval.data.inline_audio import clip_samples
from dramaeval.data.problems import counted
from dramaeval.data.records import Record
from dramaeval.evaluation.predictions import OfRecord
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.markup import render_page
from dramaeval.evaluation.report.tables import Cell, Column, Table, first_rows

LIMIT = 2_950_000
"""Maximum size of a page with its clips, in bytes: slightly less than 3 MB."""

MOST_TEXT = 2_000
"""Maximum number of characters of one text of a record."""

MOST_CASES = 10
"""Maximum number of records with clips on the page."""

NO_SOUND = "The clip is left out: it cannot be decoded, or there was no room under 3 MB."

RATE = 16_000
#: Compression levels of MP3 in libsndfile, from 41 to 8 kbit/s at 16 kHz mono; the first that fits is used.
COMPRESSIONS = (0.8, 0.9, 0.99)

MOST_POINTS = 400
"""Maximum number of points of a curve; of longer curves, every n-th point is drawn."""

#: The libraries in the table of the environment; environment.json has all libraries.
VERSIONS = ("dramaeval", "torch", "transformers", "peft", "trl", "librosa")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The input of a page of a run: a page on ratings, on pairs or on multiple-choice questions.

    Attributes:
        name: name of the run, for the title.
        metrics: the content of metrics.json.
        split: the split that the page shows in full.
        predictions: the predictions of the last phase on ``split``, all of one kind.
        records: the records of ``split``, for clips and texts.
        titles: titles of the dimensions by key.
        text_fields: keys of the records' texts that the prompt contains.
        config: the resolved configuration, as YAML.
        environment: the content of environment.json.
        tensorboard: folder of the TensorBoard files.
        max_seconds: maximum length of a clip on the page.
        facts: short facts about the run, for the head of the page.
    """

    name: str
    metrics: Mapping[str, Any]
    split: str
    predictions: Sequence[Any]
    records: Sequence[Record]
    titles: Mapping[str, str]
    text_fields: Sequence[str]
    config: str
    environment: Mapping[str, Any]
    tensorboard: Path
    max_seconds: float
    facts: Sequence[str]


def render_run_page(
    template: str,
    context: Mapping[str, Any],
    variable: str,
    items: Callable[[Mapping[str, str]], list[dict[str, Any]]],
    records: Sequence[Record],
    max_seconds: float,
) -> str:
    """Render the page of a run (see `render_with_clips`); its tables are bounded, and metrics.json has all rows.

    Args:
        template: the template of the page.
        context: the variables of the template, without ``variable``.
        variable: the variable that lists the items with clips.
        items: makes these items from clips (data URIs by record id).
        records: see `render_with_clips`.
        max_seconds: see `render_with_clips`.
    """

    def bounded(value: Any) -> Any:
        if isinstance(value, list):
            return [bounded(item) for item in value]
        return first_rows(value, "metrics.json") if isinstance(value, Table) else value

    variables = {name: bounded(value) for name, value in context.items()}

    def page(clips: Mapping[str, str]) -> str:
        return render_page(template, {**variables, variable: items(clips)})

    return render_with_clips(page, records, max_seconds)


def worst_cases(
    predictions: Sequence[OfRecord],
    records: Sequence[Record],
    gap: Callable[[OfRecord], float | None],
) -> list[tuple[Record, OfRecord]]:
    """The `MOST_CASES` records with the largest gaps, in falling order, each with its prediction of the largest gap.

    Args:
        predictions: the predictions on the records.
        records: the records with a place on the page.
        gap: the gap between judge and people, of any sign, comparable between predictions; None leaves it out.
    """
    by_id = {record.id: record for record in records}
    cases = [
        (abs(size), prediction)
        for prediction in predictions
        if prediction.id in by_id and (size := gap(prediction)) is not None
    ]
    worst: dict[str, OfRecord] = {}
    for _, prediction in sorted(cases, key=lambda case: (-case[0], case[1].id)):
        worst.setdefault(prediction.id, prediction)
    return [(by_id[name], prediction) for name, prediction in worst.items()][:MOST_CASES]


def render_with_clips(
    page: Callable[[Mapping[str, str]], str], records: Sequence[Record], max_seconds: float
) -> str:
    """Render a page of at most `LIMIT` bytes with the clips of some records.

    The clips are compressed to fit into the page, or left out.

    Args:
        page: renders the page from clips (data URIs by record id).
        records: the records with a clip on the page; those without a decoded clip are skipped.
        max_seconds: maximum length of a clip.
    """
    room = LIMIT - len(page({}).encode())
    with_audio = [record for record in records if record.seconds > 0]
    return page(sounds(with_audio, room, max_seconds))


def sounds(records: Sequence[Record], room: int, max_seconds: float) -> dict[str, str]:
    """Encode the clips as data URIs (MP3, 16 kHz, mono), by record id, in at most ``room`` characters.

    All clips have the same compression, the lowest that fits. Clips that cannot be decoded are left out; so are clips
    that do not fit at the highest compression.
    """
    waves = {}
    for record in records:
        try:
            waves[record.id] = clip_samples(record, RATE, max_seconds)
        except UnreadableClipError:
            continue
    uris: dict[str, str] = {}
    for compression in COMPRESSIONS:
        uris = {name: _uri(wave, compression) for name, wave in waves.items()}
        if sum(map(len, uris.values())) <= room:
            return uris
    embedded = {}
    for name, uri in uris.items():
        if len(uri) <= room:
            embedded[name] = uri
            room -= len(uri)
    return embedded


def _uri(wave: np.ndarray, compression: float) -> str:
    buffer = io.BytesIO()
    settings: dict[str, Any] = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    peak = max(1.0, float(np.abs(wave).max()))
    soundfile.write(
        buffer,
        wave / peak,
        RATE,
        bitrate_mode="CONSTANT",
        compression_level=compression,
        **settings,
    )
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def reference_clips(record: Record) -> list[Record]:
    """A record of the reference recording of a record, for `render_with_clips`; empty without a reference."""
    if record.reference is None:
        return []
    name, seconds = _reference_id(record), record.reference_seconds
    return [replace(record, id=name, clip=record.reference, seconds=seconds)]


def reference_player(record: Record, clips: Mapping[str, str]) -> dict[str, Any] | None:
    """The template variables of the reference's player; None for a record without a reference."""
    if record.reference is None:
        return None
    sound = clips.get(_reference_id(record))
    return {"file": record.reference.name, "sound": sound, "no_sound": NO_SOUND}


def _reference_id(record: Record) -> str:
    return f"{record.id}\0reference"


def page_context(findings: Findings) -> dict[str, Any]:
    """The template variables of every page of a run."""
    return {
        "title": f"{findings.name}: judge of acted speech",
        "kind": "dramaeval report",
        "heading": findings.name,
        "facts": findings.facts,
        "warnings": warnings(findings.metrics),
        "curves": curves(findings.tensorboard),
        "environment": environment(findings.environment),
        "remarks": remarks(findings.metrics),
        "skipped": skipped(findings.metrics),
        "config": findings.config,
    }


def contents(sections: Mapping[str, tuple[str, bool]]) -> list[tuple[str, str]]:
    """The table of contents: id and title of each section that is shown."""
    return [(key, title) for key, (title, is_shown) in sections.items() if is_shown]


def warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Reasons to be careful with the results."""
    about = metrics["about"]
    lines = [f"Scores may be too high: {overlap}." for overlap in about.get("overlaps") or ()]
    for split, skipped in (about.get("skipped") or {}).items():
        lines.append(
            f"{counted(skipped['records'], 'record')} of {split} could not be used; see Run."
        )
    return lines


def remarks(metrics: Mapping[str, Any]) -> list[str]:
    """The settings of scoring that are listed in metrics.json, and remarks about the records."""
    about = metrics["about"]
    lines = [
        f"Scoring: {key.replace('_', ' ')} = {value}."
        for key, value in (about.get("scoring") or {}).items()
    ]
    for split, counts in (about.get("remarks") or {}).items():
        lines += [
            f"{counted(count, 'record')} of {split} {text}." for text, count in counts.items()
        ]
    return lines


def curves(folder: Path) -> list[dict[str, Any]]:
    """Draw the curves of a TensorBoard folder as pictures with titles; an empty list without a folder."""
    by_tag = _read_curves(folder)
    wanted = (
        ("Training loss", "training", "train/loss", "objective"),
        ("Validation cross-entropy", "validation", "eval/cross_entropy", "nats"),
        ("Validation correlation", "validation", "eval/pearson", "Pearson"),
        ("Learning rate", "training", "train/learning_rate", "rate"),
        ("Gradient norm", "training", "train/grad_norm", "norm"),
    )
    pictures = []
    for title, label, tag, ylabel in wanted:
        if points := by_tag.get(tag):
            name = f"curve-{title.lower().replace(' ', '-')}"
            picture = plots.curve(name, title, {label: points}, ylabel)
            pictures.append({"title": title, "picture": picture})
    return pictures


def _read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read every scalar as (step, value), by tag, with about `MOST_POINTS` points at most and the last one."""
    if not folder.is_dir() or not any(folder.rglob("events.out.tfevents.*")):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        points = sorted({event.step: event.value for event in events.Scalars(tag)}.items())
        stride = max(1, -(-len(points) // MOST_POINTS))
        curves[tag] = points[:-1:stride] + points[-1:]
    return curves


def environment(about: Mapping[str, Any]) -> Table:
    """``environment.json`` as a table."""
    rows = [
        [Cell(name), Cell(str(about[name]))]
        for name in ("device", "gpu", "dtype", "processes", "seed", "commit", "python", "platform")
        if about.get(name) is not None
    ]
    versions = about.get("versions") or {}
    rows += [[Cell(name), Cell(str(versions[name]))] for name in VERSIONS if versions.get(name)]
    columns = [Column("Item", numeric=False), Column("Value", numeric=False)]
    return Table("Environment", columns, rows)


def skipped(metrics: Mapping[str, Any]) -> list[str]:
    """The problems of the records that could not be used, one line each."""
    lines = []
    for split, records in (metrics["about"].get("skipped") or {}).items():
        problems = records["problems"]
        lines += [
            f"{split}, line {problem['line']}, id {problem['id']}, {problem['key']}: {problem['problem']}"
            for problem in problems[:20]
        ]
        if (rest := len(problems) - 20) > 0:
            lines.append(f"{split}: and {rest:,} more problems, listed in metrics.json")
    return lines
