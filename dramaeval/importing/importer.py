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

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.audio import UnreadableClipError, read_header
from dramaeval.data.clip_paths import NotLocated, locate_clips
from dramaeval.data.durations import length_problem
from dramaeval.data.files import map_files
from dramaeval.data.pair_format import CLIP_A, CLIP_B
from dramaeval.data.problems import Problem, counted
from dramaeval.data.raters import RATERS, UNKNOWN
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
from dramaeval.importing.problems import in_file, raise_all
from dramaeval.importing.readers import read_source, source_path
from dramaeval.importing.rows import Row, Table
from dramaeval.importing.scores import read_scale, scale_of

#: The points of the scale that the settings give for a field of the annotations.
Scales = Mapping[str, Sequence[int | float]]

MAX_SECONDS = 30.0
_WORKERS = 8
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

    Args:
        settings: the importer's settings.
        clips: folder for audio that is stored inside the source's files.
        notes_scales: whether a notice tells which scales are derived from the ratings.

    Raises:
        BadSourceError: lists every problem. With ``bad_records=skip`` only if no clip is left, or if the source as a
            whole cannot be read.
    """
    file = source_path(settings)
    table = read_source(settings, clips)
    reader = ColumnReader(table, settings, file)
    meaning = reader.read()
    if reader.problems:
        mapping = "\n".join(f"  {line}" for line in meaning.lines())
        raise_all(
            [*reader.problems, *table.problems],
            f"The columns as read:\n{mapping}" if mapping else "",
        )
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
        raise_all([*problems, *bad], advice)
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
    root = Path(audio_root).expanduser() if audio_root else None
    # Clips are looked up in the folder of the given file.
    file_in_folder = file / "source" if file.is_dir() else file
    names = [name for draft in drafts for name in draft.clips]
    located = locate_clips(names, jsonl=file_in_folder, audio_root=root, workers=_WORKERS)
    paths = {path for path in located.values() if isinstance(path, Path)}
    headers = map_files(_seconds_or_error, paths, _WORKERS)
    long = 0
    for draft in drafts:
        lengths = []
        for name in draft.clips:
            path = located[name]
            if isinstance(path, NotLocated):
                fix = path.fix.replace("task.data.audio_root", "importer.audio_root")
                draft.problems.append(draft.rows[0].problem("clip", path.problem, fix, name))
                continue
            header = headers[path]
            if isinstance(header, UnreadableClipError):
                draft.problems.append(
                    draft.rows[0].problem("clip", header.reason, header.fix, name)
                )
            elif reason := length_problem(path.name, min(header, MAX_SECONDS), MAX_SECONDS):
                draft.problems.append(draft.rows[0].problem("clip", *reason, name))
            else:
                draft.paths.append(path)
                lengths.append(header)
        draft.seconds = sum(lengths)
        long += any(length > MAX_SECONDS for length in lengths)
    return long


def _seconds_or_error(path: Path) -> float | UnreadableClipError:
    try:
        return read_header(path).seconds
    except UnreadableClipError as error:
        return error


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
    for name, scale in by_field.items():
        if name not in fields:
            fix = f"the fields are {', '.join(fields)}"
            problems.append(
                in_file(file, f"importer.scale.{name} is not a field with ratings", fix)
            )
            continue
        try:
            scales[str(name)] = read_scale(scale)
        except ValueError as error:
            fix = "write the points of the scale, such as 1..5"
            problems.append(in_file(file, f"importer.scale: {error}", fix))
            break
    return scales, problems


def _check_scales(drafts: Sequence[ClipDraft], scales: Scales) -> None:
    """Report ratings that are not points of the scale, and means outside the scale."""
    points = {name: set(scale) for name, scale in scales.items()}
    for draft in drafts:
        for rating in draft.ratings:
            scale = points.get(rating.field)
            if scale and rating.score is not None and rating.score not in scale:
                _report_off_scale(draft, rating.row, rating.field, rating.score, scales)
        for name, mean in draft.means.items():
            if name not in scales or "mean" not in mean:
                continue
            if not scales[name][0] <= mean["mean"] <= scales[name][-1]:
                _report_off_scale(draft, draft.rows[0], name, mean["mean"], scales)


def _report_off_scale(draft: ClipDraft, row: Row, name: str, score: Any, scales: Scales) -> None:
    scale = scales[name]
    fix = "correct the rating, or set importer.scale to the scale of the raters"
    problem = f"{score} is not a point of the scale {scale[0]} to {scale[-1]} ({len(scale)} points)"
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
    has_lists = bool(imported.meaning.dimensions) or imported.meaning.is_long
    if has_lists and not imported.raters:
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
        part = [
            r for r, split in zip(imported.records, imported.splits, strict=True) if split == name
        ]
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


def source_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the source from the records' key ``source``, in the source's order: the inverse of an import.

    The cells of a row that ``importer.unpivot`` has divided are joined again.
    """
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for record in records:
        for row in record["source"]:
            rows.setdefault((row["file"], row["row"]), {}).update(row["values"])
    return [rows[key] for key in sorted(rows)]
