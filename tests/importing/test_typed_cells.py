"""A cell is read alike whether its format keeps texts (CSV) or types (Excel, Parquet, JSON Lines)."""

import json
import math

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.importer import read_import, records_text
from dramaeval.importing.problems import BadSourceError


def read(path, **settings):
    return read_import(ImporterConfig(file=str(path), **settings), path.parent / "out")


def annotations(imported):
    return {record["id"]: record["annotations"] for record in imported.records}


def write_rows(path, rows):
    """Write rows with equal keys as a file of the kind that its ending names."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        for row in ([*rows[0]], *([*row.values()] for row in rows)):
            book.active.append(row)
        book.save(path)
    else:
        lines = [",".join(map(str, row)) for row in ([*rows[0]], *(row.values() for row in rows))]
        path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "xlsx"])
@pytest.mark.parametrize(("low", "code"), [(-1, "-1"), (-1.0, "-1"), (-1, "-1.0"), (99.0, "99")])
def test_numbers_that_stand_for_a_missing_rating(tmp_path, clip, ending, low, code):
    """A cell is missing if its number is, whether the format keeps it as a text, a whole number or a float."""
    clips = [clip(f"{name}.wav") for name in "abcd"]
    paces, warmths = [low, 4, 5, 1], [3, 2, low, 5]
    rows = [
        {"clip": name, "rater": "r", "pace": type(low)(pace), "warmth": type(low)(warmth)}
        for name, pace, warmth in zip(clips, paces, warmths, strict=True)
    ]
    write_rows(tmp_path / f"ratings.{ending}", rows)
    imported = read(tmp_path / f"ratings.{ending}", missing=[code])
    assert annotations(imported) == {
        "a": {"pace": [None], "warmth": [3]},
        "b": {"pace": [4], "warmth": [2]},
        "c": {"pace": [5], "warmth": [None]},
        "d": {"pace": [1], "warmth": [5]},
    }


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "xlsx"])
@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        ([1, 5], {"1": 5, "5": 1}),
        ([1.0, 5.0], {"1": 5, "5": 1}),
        ([True, False], {"true": 5, "False": 1}),
    ],
)
def test_labels_are_read_in_typed_cells_too(tmp_path, clip, ending, cells, labels):
    if ending == "csv":
        cells = [int(cell) if isinstance(cell, float) else cell for cell in cells]
    rows = [
        {"clip": clip(f"{name}.wav"), "rater": "r", "score": cell}
        for name, cell in zip("ab", cells, strict=True)
    ]
    write_rows(tmp_path / f"ratings.{ending}", rows)
    imported = read(tmp_path / f"ratings.{ending}", labels=labels)
    assert annotations(imported) == {"a": {"score": [5]}, "b": {"score": [1]}}


@pytest.mark.parametrize("skip_rows", [[1], [1, 3]])
def test_the_title_of_a_sheet_can_be_skipped(tmp_path, clip, skip_rows):
    clip("a.wav")
    book = openpyxl.Workbook()
    book.active["A1"], book.active["F1"] = "Ratings of May", "third draft"
    rows = [("clip", "rater", "pace"), ("a.wav", "r1", 4), ("a.wav", "r2", 5), ("a.wav", "r3", "x")]
    for number, row in enumerate(rows, 2):
        for column, cell in enumerate(row, 1):
            book.active.cell(number, column, cell)
    book.save(tmp_path / "ratings.xlsx")
    with pytest.raises(BadSourceError) as error:
        read(tmp_path / "ratings.xlsx", skip_rows=skip_rows)
    assert [problem.line for problem in error.value.problems] == [5]
    imported = read(tmp_path / "ratings.xlsx", skip_rows=[*skip_rows, 5])
    assert annotations(imported) == {"a": {"pace": [4, 5] if skip_rows == [1] else [5]}}


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "xlsx"])
def test_truth_values_and_infinity_are_not_guessed_to_be_ratings(tmp_path, clip, ending):
    """A column of truth values is a rating only if the settings name it; infinity is a text like any other."""
    infinite = math.inf if ending == "parquet" else "inf"
    rows = [
        {"clip": clip("a.wav"), "pace": 4, "native": True, "snr": infinite},
        {"clip": clip("b.wav"), "pace": 2, "native": False, "snr": 3.5},
    ]
    path = tmp_path / f"ratings.{ending}"
    write_rows(path, rows)
    guessed = read(path)
    assert annotations(guessed) == {"a": {"pace": [4]}, "b": {"pace": [2]}}
    lines = list(map(json.loads, records_text(guessed.records).splitlines()))
    assert [line["native"] for line in lines] == [True, False]
    assert lines[0]["snr"] == "inf"
    named = read(path, dimensions=["native"])
    assert annotations(named) == {"a": {"native": [True]}, "b": {"native": [False]}}
    assert [dimension.scale for dimension in named.dimensions] == [[0, 1]]


@pytest.mark.parametrize("value", ["1e400", str(10**400)])
def test_a_number_beyond_the_range_of_floats_is_no_rating(tmp_path, clip, value):
    path = tmp_path / "ratings.jsonl"
    path.write_text(f'{{"clip": "{clip("a.wav")}", "rater": "r1", "score": {value}}}\n')
    with pytest.raises(BadSourceError) as raised:
        read(path, dimensions=["score"])
    assert "inf is not a finite number" in raised.value.problems[0].problem
