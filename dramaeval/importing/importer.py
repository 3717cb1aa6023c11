"""Imports a source: reads and checks it, and writes its records.

All problems of the source are collected and reported in one table.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dramaeval.config.home_folder import expand_home
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.audio import UnreadableClipError
from dramaeval.data.clip_paths import NotLocated
from dramaeval.data.durations import length_problem
from dramaeval.data.pair_format import CLIP_A, CLIP_B
from dramaeval.data.problems import Problem, counted
from dramaeval.data.raters import RATERS, UNKNOWN
from dramaeval.data.record_clips import read_clips
from dramaeval.importing.columns import ColumnReader, Meaning
from dramaeval.importing.draft_rubric import DraftDimension, identifier
from dramaeval.importing.gather import (
    MAX_POSITIONS,
    ClipDraft,
    Gatherer,
    annotations_of,
    raters_of,
    shared_values,
    source_of,
    split_of,
)
from dramaeval.importing.problems import BadSourceError, in_file
from dramaeval.importing.readers import read_source, source_path
from dramaeval.importing.rows import Table
from dramaeval.importing.scores import read_scale, scale_of

#: The points of the scale that the settings give for a field of the annotations.
Scales = Mapping[str, Sequence[int | float]]

MAX_SECONDS = 30.0
#: Keys of records that a column with the same name does not set.
_OWN_KEYS = ("annotations", "raters", "source", CLIP_A, CLIP_B, "split")


@dataclass(kw_only=True)
class Imported:
    """The content of a source.

    Attributes:
        name: the name of the rubric and the task.
        meaning: the meaning of the columns.
        records: the records in the source's order.
        splits: the split of each record in the source; None for a record without one.
        dimensions: the dimensions of the draft rubric.
        raters: the identified raters; empty if raters are unknown.
        seconds: the length of each clip.
        skipped: problems of the clips that were left out.
        rows: the number of rows that were read.
        notices: remarks for the user.
    """

    name: str
    meaning: Meaning
    records: list[dict[str, Any]]
    splits: list[str | None]
    dimensions: list[DraftDimension]
    raters: list[str]
    seconds: list[float]
    skipped: list[Problem]
    rows: int
    notices: list[str] = field(default_factory=list)


def read_import(settings: ImporterConfig, clips: Path, *, notes_scales: bool = True) -> Imported:
    """Read and check a source.

    Audio that is stored inside the source's files is written to the folder ``clips``. With ``notes_scales``, a notice
    tells which scales are derived from the ratings.

    Raises:
        BadSourceError: lists every problem. With ``bad_records=skip`` only if no clip is left, or if the source as a
            whole cannot be read.
    """
    file = source_path(settings)
    table = read_source(settings, clips)
    reader = ColumnReader(table, settings, file)
    meaning = reader.read()
    if reader.problems:
        mapping = "".join(f"\n  {line}" for line in meaning.lines())
        advice = f"The columns as read:{mapping}" if mapping else ""
        raise BadSourceError([*reader.problems, *table.problems], advice)
    gatherer = Gatherer(meaning, settings, file)
    drafts = gatherer.gather(table.rows)
    long = _locate(drafts, file, settings.audio_root)
    scales, scale_problems = _scales_of_settings(settings, gatherer.fields, file)
    _check_scales(drafts, scales)
    _set_ids(drafts)
    problems = [*table.problems, *gatherer.problems, *scale_problems]
    bad = [problem for draft in drafts for problem in draft.problems]
    good = [draft for draft in drafts if not draft.problems]
    if problems or (bad and (settings.bad_records == "stop" or not good)):
        skips = good and not problems
        advice = "importer.bad_records=skip leaves these clips out." if skips else ""
        raise BadSourceError([*problems, *bad], advice)
    fields, raters = gatherer.fields, raters_of(good)
    imported = Imported(
        name=identifier(settings.name or file.stem),
        meaning=meaning,
        records=[_record(draft, meaning, fields, raters, file) for draft in good],
        splits=list(map(split_of, good)),
        dimensions=[_dimension(name, good, scales, settings) for name in fields],
        raters=raters,
        seconds=[draft.seconds for draft in good],
        skipped=bad,
        rows=len(table.rows),
    )
    scale_notices = _scale_notices(imported) if notes_scales else []
    imported.notices = [*table.notices, *scale_notices, *_notices(imported, table, long)]
    return imported


def _record(
    draft: ClipDraft, meaning: Meaning, fields: Sequence[str], raters: Sequence[str], source: Path
) -> dict[str, Any]:
    annotations, raters_of_clip = annotations_of(draft, fields, raters, meaning.means)
    names = (CLIP_A, CLIP_B) if draft.clip_b else ("wav_path",)
    record: dict[str, Any] = {"id": draft.texts["id"]}
    record |= dict(zip(names, map(str, draft.paths), strict=True))
    record |= {key: text for key, text in draft.texts.items() if key not in ("id", "split")}
    record["annotations"] = annotations
    if raters_of_clip:
        record[RATERS] = raters_of_clip
    elif any(isinstance(values, list) for values in annotations.values()):
        # Without this key, each position of a list would count as a rater.
        record[RATERS] = UNKNOWN
    roles = dict.fromkeys(meaning.roles.values())
    taken = {**record, **roles, **dict.fromkeys(_OWN_KEYS), **annotations}
    return {**record, **shared_values(draft, taken), "source": source_of(draft, source)}


def _locate(drafts: Sequence[ClipDraft], file: Path, audio_root: str | None) -> int:
    """Find the clips of each draft and read their headers; returns the number of drafts with a long clip."""
    root = expand_home(audio_root) if audio_root else None
    # Clips are looked up in the folder of the given file.
    file_in_folder = file / "source" if file.is_dir() else file
    names = [name for draft in drafts for name in draft.clips]
    clips = read_clips(names, file_in_folder, root)
    long = 0
    for draft in drafts:
        lengths = []
        for name in draft.clips:
            clip = clips[name]
            if isinstance(clip, NotLocated):
                fix = clip.fix.replace("task.data.audio_root", "importer.audio_root")
                problem: tuple[str, str] | None = (clip.problem, fix)
            elif isinstance(clip, UnreadableClipError):
                problem = clip.reason, clip.fix
            else:
                path, seconds = clip
                problem = length_problem(path.name, min(seconds, MAX_SECONDS), MAX_SECONDS)
                draft.paths.append(path)
                lengths.append(seconds)
            if problem:
                draft.problems.append(draft.rows[0].problem("clip", *problem, name))
        draft.seconds = sum(lengths)
        long += any(length > MAX_SECONDS for length in lengths)
    return long


def _scales_of_settings(
    settings: ImporterConfig, fields: Sequence[str], file: Path
) -> tuple[dict[str, list[int | float]], list[Problem]]:
    """The scales that the settings give by field, and the problems of these settings."""
    by_field = settings.scale
    if by_field is None:
        return {}, []
    if not isinstance(by_field, Mapping):
        by_field = dict.fromkeys(fields, by_field)
    scales, problems = {}, []
    for name, scale in ((str(key), scale) for key, scale in by_field.items()):
        if name not in fields:
            fix = f"the fields are {', '.join(fields)}"
            problem = f"importer.scale.{name} is not a field with ratings"
            problems.append(in_file(file, problem, fix))
            continue
        try:
            scales[name] = read_scale(scale)
        except ValueError as error:
            fix = "write the points of the scale, such as 1..5"
            problems.append(in_file(file, f"importer.scale: {error}", fix))
            break
    return scales, problems


def _check_scales(drafts: Sequence[ClipDraft], scales: Scales) -> None:
    """Report ratings that are not points of the scale, and means outside the scale."""
    points = {name: {None, *scale} for name, scale in scales.items()}
    fix = "correct the rating, or set importer.scale to the scale of the raters"
    for draft in drafts:
        rated = [rating for rating in draft.ratings if rating.field in points]
        off = [(r.field, r.row, r.score) for r in rated if r.score not in points[r.field]]
        for name, mean in draft.means.items():
            scale = scales.get(name)
            if scale and "mean" in mean and not scale[0] <= mean["mean"] <= scale[-1]:
                off.append((name, draft.rows[0], mean["mean"]))
        for name, row, score in off:
            low, high, count = scales[name][0], scales[name][-1], len(scales[name])
            problem = f"{score} is not a point of the scale {low} to {high} ({count} points)"
            draft.problems.append(row.problem(name, problem, fix, draft.clip))


def _set_ids(drafts: Sequence[ClipDraft]) -> None:
    """Set the id of each record: the source's id, else the clip's name, or its whole path if names repeat."""
    names = [" / ".join(Path(clip).stem for clip in draft.clips) for draft in drafts]
    stems = Counter(names)
    first: dict[str, ClipDraft] = {}
    for draft, stem in zip(drafts, names, strict=True):
        draft.texts.setdefault("id", stem if stems[stem] == 1 else " / ".join(draft.clips))
        earlier = first.setdefault(draft.texts["id"], draft)
        if earlier is not draft:
            fix = "give every clip its own id, or set importer.columns.id=none"
            problem = f"{draft.texts['id']!r} is also the id of {earlier.clip}"
            draft.problems.append(draft.rows[0].problem("id", problem, fix, draft.clip))


def _dimension(
    name: str, drafts: Sequence[ClipDraft], scales: Scales, settings: ImporterConfig
) -> DraftDimension:
    scores = [r.score for d in drafts for r in d.ratings if r.field == name and r.score is not None]
    means = [d.means[name]["mean"] for d in drafts if "mean" in d.means.get(name, {})]
    labels = {value: str(label) for label, value in settings.labels.items()}
    if not set(scores) <= set(labels):  # the ratings of this field are not words
        labels = {}
    is_given = name in scales
    scale = scales[name] if is_given else scale_of([*scores, *means])
    return DraftDimension(name=name, scale=scale, is_given=is_given, labels=labels)


def _scale_notices(imported: Imported) -> list[str]:
    return [
        f"The scale of {dimension.name} is the range of its ratings, {dimension.scale[0]} to {dimension.scale[-1]}. If "
        "the raters had other points, set importer.scale."
        for dimension in imported.dimensions
        if not dimension.is_given
    ]


def _notices(imported: Imported, table: Table, long: int) -> list[str]:
    notices = []
    if table.left_out:
        notices.append(f"{counted(table.left_out, 'row')} left out by importer.where.")
    if long:
        notices.append(
            f"{counted(long, 'clip')} longer than {MAX_SECONDS:g} s: a run needs task.data.on_long=trim or segments."
        )
    is_unknown = any(record.get(RATERS) == UNKNOWN for record in imported.records)
    if is_unknown and not imported.raters:
        notices.append(
            'Raters are not identified, so the records have "raters": "unknown": what needs the same rater over clips '
            "(human ceiling, rater_weighted) is not computed."
        )
    if len(imported.raters) > MAX_POSITIONS:
        notices.append(
            f"{len(imported.raters)} raters: each list holds a clip's own raters, whom the key raters names. A "
            "position is not the same rater in all records."
        )
    return notices


def records_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as JSON Lines."""
    lines = (json.dumps(_as_json(r), ensure_ascii=False, allow_nan=False) for r in records)
    return "".join(line + "\n" for line in lines)


def write_own_splits(imported: Imported, output: Path) -> dict[str, Path]:
    """Write a file ``records.<split>.jsonl`` for each split of the source; returns the files by split."""
    files = {}
    for name in dict.fromkeys(split for split in imported.splits if split):
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
        pairs = zip(imported.records, imported.splits, strict=True)
        part = [record for record, split in pairs if split == name]
        files[name] = output / f"records.{safe}.jsonl"
        write_text_atomic(files[name], records_text(part), verbatim=True)
    without = imported.splits.count(None)
    if without:
        imported.notices.append(f"{without} records without a split are in records.jsonl only.")
    return files


def _as_json(value: Any) -> Any:
    """A value of a typed table in JSON's types: NaN becomes null, dates ISO 8601 texts, bytes Base64."""
    if isinstance(value, Mapping):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value if isinstance(value, str | int | float | bool | None) else str(value)
