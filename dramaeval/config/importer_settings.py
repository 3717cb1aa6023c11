"""The settings of ``stages=[import]``: the source of rated speech, and the meaning of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dramaeval.config.fields import setting

#: Kinds of sources; each is read by a module of `dramaeval.importing`.
FORMATS = (
    "csv",
    "excel",
    "jsonl",
    "parquet",
    "datasets",
    "webdataset",
    "kaldi",
    "audio_folder",
    "label_studio",
)


@dataclass(kw_only=True)
class ImporterConfig:
    """``importer``: the source of stages=[import], and the meaning of its columns."""

    file: str | None = setting(None, help="table, archive or folder with the ratings")
    files: Any = setting(
        None,
        help="files inside importer.file, if it is a folder: a list, or {split: file or list of files}",
        kind="a list of texts, a mapping or null",
    )
    format: str | None = setting(
        None, help="kind of the source; null: by the ending of its name", choices=FORMATS
    )
    sheet: str | None = setting(None, help="sheet of an Excel file; null: the only one")
    output: str | None = setting(None, help="folder of the results; null: the run folder")
    name: str | None = setting(
        None, help="name of the rubric and the task, an identifier; null: the name of the file"
    )
    audio_root: str | None = setting(
        None, help="folder in which clips are looked up after the source's own folder"
    )
    columns: dict[str, Any] = setting(
        dict,
        help="column of each role (clip, rater, question, score, id, transcript, character, scene, system, "
        "split, …) or a text with {column} in it; none: no such column; absent: guessed by name",
    )
    dimensions: Any = setting(
        None,
        help="columns with ratings: a list, or {field: column, list with one column per rater, or "
        "{mean: column, std: column, n: column}}; null: guessed",
        kind="a list of texts, a mapping or null",
    )
    ignore: list[str] = setting([], help="columns that hold no ratings")
    scale: Any = setting(
        None,
        help="points of the scale: LOW..HIGH, LOW..HIGH/STEP or a list; {field: scale} if they differ; null: "
        "the range of the ratings",
        kind="text, a list, a mapping or null",
    )
    values: str | None = setting(
        None,
        help="what a single number per clip is; null: whole and half numbers are ratings, others are reported",
        choices=("ratings", "means"),
    )
    positions: str | None = setting(
        None,
        help="cells that hold a list of ratings; raters: position k is the same rater in all records; null: "
        "unknown",
        choices=("raters",),
    )
    labels: dict[str, Any] = setting(dict, help="score of each label, if ratings are words")
    decimal: str | None = setting(
        None,
        help="decimal sign; null: a number with a comma is reported",
        choices=("point", "comma"),
    )
    delimiter: str | None = setting(
        None, help="separator of the columns of a text table; null: the only one that fits"
    )
    encoding: str | None = setting(None, help="encoding of a text table; null: UTF-8 or UTF-16")
    header: list[str] | None = setting(
        None, help="names of the columns of a text table without a header"
    )
    skip_rows: list[int] = setting(
        [],
        help="numbers of rows to skip, from 1; the header is the first other row that is not empty",
    )
    missing: list[str] = setting(
        ["NA", "N/A", "NaN", "null", "None"], help="texts that stand for a missing rating"
    )
    repeats: str = setting(
        "error",
        help="several ratings of a clip and dimension by one rater: report them, or keep one",
        choices=("error", "first", "last"),
    )
    where: dict[str, Any] = setting(
        dict, help="read only rows in which each column has this value, or one of these values"
    )
    patterns: dict[str, Any] = setting(
        dict, help="regular expression for each column; its named groups become columns"
    )
    unpivot: str | None = setting(
        None,
        help="regular expression of the names of columns that hold scores, with the group clip and perhaps "
        "question: each such cell becomes a row",
    )
    lookup: dict[str, Any] = setting(
        dict, help="further columns: {new column: {column: old column, values: {old value: text}}}"
    )
    joins: dict[str, Any] = setting(
        dict,
        help="further tables inside importer.file: {file: {on: key column, own: key column of the rows}}",
    )
    bad_records: str = setting(
        "stop",
        help="stop: report all problems and end; skip: leave the clips with problems out and count them",
        choices=("stop", "skip"),
    )
    splits: dict[str, float] = setting(
        dict, help="shares of the splits; empty: the source's own, else 0.8, 0.1 and 0.1"
    )
    apart: list[str] = setting(
        ["character", "scene", "clip"], help="keys whose values no two splits share"
    )
    language: str = setting("en", help="language of the rubric")
    license: str | None = setting(None, help="licence of the source, for the card")
    citation: str | None = setting(None, help="how the source is cited, for the card")
    url: str | None = setting(None, help="address of the source, for the card")
    note: str | None = setting(None, help="a remark about the source, for the card")
