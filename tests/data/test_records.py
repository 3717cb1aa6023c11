"""Reading JSONL: what is accepted, and every way in which a file may be wrong."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import json
import lzma
import math
import pickle
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from wav_by_hand import riff

from dramaeval.data.annotation_fields import written_values
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.raters import RaterInfo
from dramaeval.data.records import AnnotationField, RecordFormat, read_records

FORMAT = RecordFormat(
    text_fields=("transcript",),
    annotation_fields=(
        AnnotationField(name="pitch_variation", low=1, high=5),
        AnnotationField(name="dynamic_range", low=1, high=5),
        AnnotationField(name="content_pass", low=0, high=1, required=False),
    ),
)
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "speech_drame"

Writer = Callable[..., Path]


def line(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A good record for clip.wav; a change to `...` takes the key away."""
    record: dict[str, Any] = {
        "id": f"r{number}",
        "transcript": "Do that again.",
        "wav_path": "clip.wav",
        "annotations": {"pitch_variation": [1, 5, 3], "dynamic_range": [2, 2, 2]},
    }
    record.update(changes)
    return {key: value for key, value in record.items() if value is not ...}


def ratings(**changes: Any) -> dict[str, Any]:
    fields = {"pitch_variation": [1, 5, 3], "dynamic_range": [2, 2, 2]} | changes
    return {key: value for key, value in fields.items() if value is not ...}


@pytest.fixture
def folder(tmp_path: Path, make_wav: Writer) -> Path:
    make_wav(tmp_path / "clip.wav")
    return tmp_path


@pytest.fixture
def problems_of(folder: Path, write_jsonl: Writer) -> Callable[..., list[Problem]]:
    """Read lines which must be refused, and return why."""

    def read(*lines: Any, fmt: RecordFormat = FORMAT, **options: Any) -> list[Problem]:
        with pytest.raises(BadRecordsError) as caught:
            read_records(write_jsonl(folder / "a.jsonl", *lines), fmt, **options)
        return list(caught.value.problems)

    return read


# What is accepted


def test_a_good_record_keeps_everything_it_came_with(folder: Path, write_jsonl: Writer) -> None:
    given = line(note="kept", annotations=ratings(comments=["", "so-so", "N/A"]))
    file = write_jsonl(folder / "a.jsonl", given)
    result = read_records(file, FORMAT)
    (record,) = result.records
    assert (record.id, record.line, record.file) == ("r1", 1, file)
    assert record.clip == folder / "clip.wav"
    assert record.seconds == 0.5
    assert record.fields == given
    assert record.ratings == {"pitch_variation": (1.0, 5.0, 3.0), "dynamic_range": (2.0, 2.0, 2.0)}
    assert (result.skipped, result.notices) == ([], [])
    assert pickle.loads(pickle.dumps(record)) == record  # data loading workers get copies


def test_ratings_may_stand_at_the_top_level(folder: Path, write_jsonl: Writer) -> None:
    top = line(annotations=..., **ratings(pitch_variation=[4, 4, 4]))
    split = line(2, annotations={"pitch_variation": [1, 1, 1]}, dynamic_range=[5, 5, 5])
    first, second = read_records(write_jsonl(folder / "a.jsonl", top, split), FORMAT).records
    assert first.ratings["pitch_variation"] == (4.0, 4.0, 4.0)
    assert second.ratings == {"pitch_variation": (1.0,) * 3, "dynamic_range": (5.0,) * 3}


def test_missing_ratings_stay_missing(folder: Path, write_jsonl: Writer) -> None:
    given = line(annotations=ratings(
        pitch_variation=[None, "N/A", "n/a", "NA", "", " na ", 4], dynamic_range=[None] * 7
    ))  # fmt: skip
    (record,) = read_records(write_jsonl(folder / "a.jsonl", given), FORMAT).records
    assert record.ratings["pitch_variation"] == (None,) * 6 + (4.0,)
    assert record.given("pitch_variation") == (4.0,)
    assert record.given("dynamic_range") == ()  # one dimension without a rating is no problem
    assert record.given("content_pass") == ()


def test_pass_fail_takes_booleans_and_whole_floats_count_as_integers(
    folder: Path, write_jsonl: Writer
) -> None:
    given = line(annotations=ratings(pitch_variation=[4.0, 1, 2], content_pass=[True, False, 1]))
    (record,) = read_records(write_jsonl(folder / "a.jsonl", given), FORMAT).records
    assert record.ratings["content_pass"] == (1.0, 0.0, 1.0)
    assert record.ratings["pitch_variation"] == (4.0, 1.0, 2.0)


def test_ratings_in_other_forms_are_counted(folder: Path, write_jsonl: Writer) -> None:
    first = line(
        annotations=ratings(pitch_variation=["4", " 3.0 ", 2.0], content_pass=[True, 0, "1"])
    )
    second = line(2, annotations=ratings(pitch_variation={"mean": "3.5", "std": None}))
    result = read_records(write_jsonl(folder / "a.jsonl", first, line(3), second), FORMAT)
    assert result.records[0].ratings["pitch_variation"] == (4.0, 3.0, 2.0)
    assert result.records[0].ratings["content_pass"] == (1.0, 0.0, 1.0)
    assert result.records[2].ratings["pitch_variation"] == (3.5,)
    assert sorted(result.notices) == [
        "1 rating with a decimal point, read as whole numbers (4.0 as 4) (line 1)",
        '4 ratings in quotes, read as numbers ("4" as 4) (lines 1, 3)',
    ]


def test_mean_ratings_and_raters_are_read(folder: Path, write_jsonl: Writer) -> None:
    lines = [
        line(annotations=ratings(pitch_variation=3.42, dynamic_range={"mean": 4, "std": 0.5, "n": 9})),
        line(2, annotations=ratings(pitch_variation={"ann": 4, "bo": None}, dynamic_range={"cy": 5})),
        line(3, raters=["ann", 7, "bo"]),
        line(4, raters="unknown", annotations=ratings(dynamic_range=[1, 2])),
        line(5, annotations=ratings(pitch_variation={"mean": None})),
    ]  # fmt: skip
    records = read_records(write_jsonl(folder / "a.jsonl", *lines), FORMAT).records
    read = [(record.ratings, record.raters) for record in records]
    mean_only = RaterInfo(mean_only=True)
    named = RaterInfo(ids=("ann", "7", "bo"))
    assert read[0] == (
        {"pitch_variation": (3.42,), "dynamic_range": (4.0,)},
        {
            "pitch_variation": mean_only,
            "dynamic_range": RaterInfo(mean_only=True, std=0.5, count=9),
        },
    )
    assert read[1] == (
        {"pitch_variation": (4.0, None), "dynamic_range": (5.0,)},
        {"pitch_variation": RaterInfo(ids=("ann", "bo")), "dynamic_range": RaterInfo(ids=("cy",))},
    )
    assert read[2][1] == {"pitch_variation": named, "dynamic_range": named}
    assert set(read[3][1].values()) == {RaterInfo(unknown=True)}
    assert read[4][0]["pitch_variation"] == (None,)
    declared = replace(FORMAT, raters_known=False)
    (record,) = read_records(write_jsonl(folder / "b.jsonl", line()), declared).records
    assert set(record.raters.values()) == {RaterInfo(unknown=True)}


def test_flat_keys_hold_the_ratings_of_one_rater_each(folder: Path, write_jsonl: Writer) -> None:
    pitch = {"final0": [5], "annotation10": 2, "annotation2": "4", "annotation0": None}
    dynamics = {"annotation0": 1, "annotation2": "N/A"}
    flat = {f"{rater}_pitch_variation": value for rater, value in pitch.items()}
    nested = {f"{rater}_dynamic_range": value for rater, value in dynamics.items()}
    file = write_jsonl(folder / "a.jsonl", line(annotations=nested, **flat))
    (record,) = read_records(file, FORMAT).records
    assert record.ratings["pitch_variation"] == (None, 4.0, 2.0, 5.0)
    names = ("annotation0", "annotation2", "annotation10", "final0")
    assert record.raters["pitch_variation"] == RaterInfo(ids=names)
    assert record.ratings["dynamic_range"] == (1.0, None)
    assert record.raters["dynamic_range"] == RaterInfo(ids=names[:2])
    assert written_values(record.fields, "pitch_variation") == [None, "4", 2, 5]
    unknown = replace(FORMAT, raters_known=False)
    (record,) = read_records(file, unknown).records
    assert record.raters["dynamic_range"] == RaterInfo(unknown=True)


def test_values_as_they_are_written(folder: Path, write_jsonl: Writer) -> None:
    forms = ratings(
        pitch_variation={"x": 4, "y": "N/A"}, dynamic_range={"mean": 3.5}, content_pass=[True, None]
    )
    file = write_jsonl(folder / "a.jsonl", line(annotations=forms))
    (record,) = read_records(file, FORMAT).records
    values = [written_values(record.fields, field.name) for field in FORMAT.annotation_fields]
    assert values == [[4, "N/A"], [3.5], [True, None]]
    assert written_values({"dynamic_range": 3.5}, "dynamic_range") == [3.5]
    assert written_values({}, "dynamic_range") == []


def test_wrong_flat_keys_are_named(problems_of: Any) -> None:
    off, twice = problems_of(
        line(1, annotations=ratings(pitch_variation=...), annotation3_pitch_variation=7),
        line(2, final0_dynamic_range=3),
    )
    assert (off.key, off.problem) == (
        "pitch_variation",
        "off the scale 1 to 5: 7 (rater annotation3)",
    )
    assert twice.problem == ('differs between the list "dynamic_range" and the flat keys (final0)')


def test_bom_crlf_blank_lines_and_line_separators_in_texts(
    folder: Path, write_jsonl: Writer
) -> None:
    text = "one\u2028two\u0085three"  # str.splitlines would cut this record in three
    file = write_jsonl(folder / "a.jsonl", line(1, transcript=text), "", "  ", line(2), end=b"\r\n")
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes() + codecs.BOM_UTF8 + b"\n")
    # A third record from a file with its own BOM, joined to this one, without a last line end.
    file.write_bytes(file.read_bytes() + codecs.BOM_UTF8 + json.dumps(line(3)).encode())
    records = read_records(file, FORMAT, on_bad="skip").records
    assert [(record.id, record.line) for record in records] == [("r1", 1), ("r2", 4), ("r3", 6)]
    assert records[0].fields["transcript"] == text


@pytest.mark.parametrize("name", ["with space.wav", 'qu"o\'te.wav', "演技.wav", "new\nline.wav",
                                  "-dash.wav", "$HOME;.wav", "back\\slash.wav"])  # fmt: skip
def test_any_file_name_works(
    folder: Path, make_wav: Writer, write_jsonl: Writer, name: str
) -> None:
    clip = make_wav(folder / "s p\n" / name)
    file = write_jsonl(folder / "a.jsonl", line(wav_path=f"s p\n/{name}"))
    assert read_records(file, FORMAT).records[0].clip == clip


def test_records_to_be_scored_need_no_ratings(folder: Path, write_jsonl: Writer) -> None:
    fmt = RecordFormat(
        text_fields=("transcript",), annotation_fields=FORMAT.annotation_fields, annotated=False
    )
    file = write_jsonl(
        folder / "a.jsonl", line(annotations=...), line(2, annotations=None), line(3)
    )
    records = read_records(file, fmt).records
    assert [len(record.ratings) for record in records] == [0, 0, 2]


# What is refused: (line, key, part of the problem, part of the fix)


@pytest.mark.parametrize(
    ("raw", "problem", "fix"),
    [
        ('{"id": "r1", }', "malformed JSON at column 14", "syntax"),
        ('{"id": "r1"} {"id": "r2"}', "malformed JSON at column 14: Extra data", "syntax"),
        ('  {"id": nope}', "malformed JSON at column 10", "syntax"),
        ("[1, 2]", "a list, not an object", "one JSON object per line"),
        ('"text"', "a string, not an object", "one JSON object per line"),
        ("null", "null, not an object", "one JSON object per line"),
        (b'{"id": "caf\xe9"}', "byte 12 of the line (0xe9) is not UTF-8", "UTF-8"),
        ("[" * 100_000, "unreadable JSON", "syntax"),
        ('{"id": ' + "9" * 5_000 + "}", "unreadable JSON", "syntax"),
    ],
)
def test_lines_that_are_no_objects(
    problems_of: Any, raw: str | bytes, problem: str, fix: str
) -> None:
    (found,) = problems_of(line(1), raw)
    assert (found.line, found.id) == (2, None)
    assert problem in found.problem
    assert fix in found.fix


@pytest.mark.parametrize(
    ("changes", "key", "problem", "fix"),
    [
        ({"id": ...}, "id", "missing", '"id"'),
        ({"id": 17}, "id", "a number where a string", "quotes"),
        ({"transcript": ...}, "transcript", "missing", '"transcript"'),
        ({"transcript": ..., "Transcrpt": "x"}, "transcript", "missing", 'rename "Transcrpt"'),
        ({"transcript": None}, "transcript", "null where a string", "quotes"),
        ({"transcript": " \t\n"}, "transcript", "empty text", "fill in"),
        ({"transcript": "\ud800"}, "transcript", "surrogate", "mend"),
        ({"wav_path": ...}, "wav_path", "missing", '"wav_path"'),
        ({"wav_path": ["a.wav"]}, "wav_path", "a list where a string", "quotes"),
        ({"annotations": [1]}, "annotations", "a list where an object", "one value per rater"),
        (
            {"annotations": ratings(pitch_variation=...)},
            "pitch_variation", "missing annotation field", 'give a list "pitch_variation"',
        ),
        (
            {"annotations": ratings(pitch_variation=..., pitch_variaton=[1, 2, 3])},
            "pitch_variation", "missing", 'rename "pitch_variaton" to "pitch_variation"',
        ),
        (
            {"pitch_variation": [2, 2, 2]},
            "pitch_variation", "differs between", "keep one",
        ),
        ({"annotations": ratings(pitch_variation="four")}, "pitch_variation",
         "a string where a list", "one value per rater"),
        ({"annotations": ratings(pitch_variation=5.2)}, "pitch_variation",
         "mean 5.2: off the scale 1 to 5", "from 1 to 5, or null"),
        ({"annotations": ratings(pitch_variation={"mean": 4, "sd": 1})}, "pitch_variation",
         '"mean" beside sd', '"std": 0.9'),
        ({"annotations": ratings(pitch_variation={"std": 1, "n": 4})}, "pitch_variation",
         "no mean", '"std": 0.9'),
        ({"annotations": ratings(pitch_variation={"mean": 4, "n": 2.5})}, "pitch_variation",
         "n is 2.5", "a whole number from 1 on"),
        ({"annotations": ratings(pitch_variation={"mean": 3, "std": 2.1})}, "pitch_variation",
         "it lies between 0.000 and 2.000", "with n, not n − 1"),
        ({"annotations": ratings(pitch_variation={"mean": 3.5, "std": 0.4})}, "pitch_variation",
         "it lies between 0.500 and 1.936", "with n, not n − 1"),
        ({"annotations": ratings(pitch_variation={"ann": 6, "bo": 4})}, "pitch_variation",
         "off the scale 1 to 5: 6 (rater ann)", "from 1 to 5, or null"),
        ({"annotations": ratings(pitch_variation={"": 4})}, "pitch_variation",
         "1 rater without a name", "name the raters"),
        ({"annotations": ratings(raters=["ann", "bo"])}, "raters",
         "2 ratings where the other fields have 3", "one value per rater"),
        ({"annotations": ratings(raters=["ann", "bo", "ann"])}, "raters",
         "the same rater twice: ann", '"unknown"'),
        ({"raters": 3}, "raters", 'neither a list of names nor "unknown"', '"unknown"'),
        ({"annotations": ratings(pitch_variation=None)}, "pitch_variation", "null where a list",
         "one value per rater"),
        ({"annotations": ratings(pitch_variation=[1, 6, 0])}, "pitch_variation",
         "off the scale 1 to 5: 6 (rater 2), 0 (rater 3)", "from 1 to 5, or null"),
        ({"annotations": ratings(pitch_variation=[1, 4.5, 3])}, "pitch_variation",
         "not a whole number: 4.5 (rater 2)", "from 1 to 5, or null"),
        *(({"annotations": ratings(pitch_variation=[text, 4, 3])}, "pitch_variation",
         f"a string where a number is expected: '{text}' (rater 1)", "without quotes")
          for text in ("1,5", "+4", "04", "4e0", "٤", "0x4", "4 of 5", "true", "nan")),
        ({"annotations": ratings(pitch_variation=["6", 4, 3])}, "pitch_variation",
         "off the scale 1 to 5: 6 (rater 1)", "from 1 to 5, or null"),
        ({"annotations": ratings(content_pass=["true", 1, 0])}, "content_pass",
         "a string where a number is expected: 'true' (rater 1)", "true, false"),
        ({"annotations": ratings(pitch_variation=[True, 4, 3])}, "pitch_variation",
         "a boolean where a number is expected: True (rater 1)", "from 1 to 5"),
        ({"annotations": ratings(pitch_variation=[[4], 4, 3])}, "pitch_variation",
         "a list where a number is expected", "from 1 to 5"),
        ({"annotations": ratings(content_pass=[True, 2, None])}, "content_pass",
         "off the scale 0 to 1: 2 (rater 2)", "true, false"),
        ({"annotations": ratings(pitch_variation=[1, 2])}, "pitch_variation", None, None),
        ({"annotations": ratings(pitch_variation=[None] * 3, dynamic_range=["N/A"] * 3)},
         "annotations", "no rating at all", "at least one rating"),
        ({"annotations": ratings(pitch_variation=[], dynamic_range=[])},
         "annotations", "no rating at all", "at least one rating"),
    ],
)  # fmt: skip
def test_records_that_are_wrong(
    problems_of: Any, changes: dict[str, Any], key: str, problem: str | None, fix: str | None
) -> None:
    written = json.dumps(line(2, **changes))  # as ASCII, so that half a surrogate pair gets through
    (found,) = problems_of(line(1), written)
    assert (found.line, found.key) == (2, key)
    assert found.id == (None if key == "id" else "r2")
    if problem is None:
        problem, fix = "2 ratings where the other fields have 3", "null where a rater gave none"
    assert problem in found.problem
    assert fix is not None
    assert fix in found.fix


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_named_with_their_key(
    problems_of: Any, literal: str
) -> None:
    written = json.dumps(line(1, extra={"confidence": [3, 99]})).replace("99", literal)
    (found,) = problems_of(written)
    assert (found.line, found.key) == (1, "extra.confidence")
    assert literal.strip("-") in found.problem
    assert "null" in found.fix


def test_a_number_too_large_for_a_float_is_off_the_scale(problems_of: Any) -> None:
    written = json.dumps(line(1, annotations=ratings(pitch_variation=[7, 1, 1])))
    (found,) = problems_of(written.replace("7", "1e999"))
    assert "off the scale" in found.problem


def test_the_text_nan_is_no_number(folder: Path, write_jsonl: Writer) -> None:
    file = write_jsonl(folder / "a.jsonl", line(1, transcript="NaN, to Infinity and beyond"))
    assert len(read_records(file, FORMAT).records) == 1


def test_a_key_given_twice_is_ambiguous(problems_of: Any) -> None:
    written = json.dumps(line(1)).replace('"id"', '"transcript": "other", "id"')
    (found,) = problems_of(written)
    assert (found.key, found.problem) == ("transcript", "the key is given twice")


def test_duplicate_ids_name_the_first_line(problems_of: Any) -> None:
    found = problems_of(line(1), line(2), line(1), line(1))
    assert [(p.line, p.key, p.problem) for p in found] == [
        (3, "id", "already used in line 1"),
        (4, "id", "already used in line 1"),
    ]


def test_all_problems_are_reported_together(problems_of: Any) -> None:
    found = problems_of(
        line(1, transcript="", wav_path="gone.wav", annotations=ratings(dynamic_range=[9, 9])),
        "{",
        line(3),
        line(4, id=""),
    )
    assert [(p.line, p.key) for p in found] == [
        (1, "transcript"), (1, "dynamic_range"), (1, "dynamic_range"), (1, "wav_path"),
        (2, None), (4, "id"),
    ]  # fmt: skip
    assert all(p.fix and p.problem for p in found)


def test_a_misspelt_optional_field_is_noticed(folder: Path, write_jsonl: Writer) -> None:
    bad = line(1, annotations=ratings(contentpass=[True, True, True]))
    file = write_jsonl(folder / "a.jsonl", bad, line(2), bad | {"id": "r3"})
    (notice,) = read_records(file, FORMAT).notices
    assert "contentpass" in notice
    assert "lines 1, 3" in notice


# The file as a whole


@pytest.mark.parametrize("content", [b"", b"\n\n  \r\n", codecs.BOM_UTF8])
@pytest.mark.parametrize("on_bad", ["stop", "skip"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: bytes, on_bad: Any) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    with pytest.raises(BadRecordsError, match="holds no records"):
        read_records(file, FORMAT, on_bad=on_bad)


def test_files_that_are_no_jsonl(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    with pytest.raises(BadRecordsError, match="no such file"):
        read_records(file, FORMAT)
    with pytest.raises(BadRecordsError, match="this is a folder"):
        read_records(tmp_path, FORMAT)
    file.write_text(json.dumps([line(1), line(2)], indent=1))
    with pytest.raises(BadRecordsError) as caught:
        read_records(file, FORMAT)
    (found,) = caught.value.problems
    assert "one JSON document spread over several lines" in found.problem


RECORD = json.dumps(line())
TABLE = 'id,transcript,wav_path\nr1,Go.,a.wav\nr2,"Stop, now.",b.wav\n'


@pytest.mark.parametrize(
    ("name", "content", "problem", "fix"),
    [
        ("a.jsonl", TABLE.encode(), "is CSV", "read_csv('\"'\"'a.jsonl'"),
        ("a.jsonl", TABLE.encode(), "is CSV", "'a.records.jsonl'\"'\"', orient="),
        ("a.csv", TABLE.encode("utf-8-sig"), "is CSV", "'a.jsonl'\"'\"', orient="),
        ("a.csv", b"id;transcript\nr1;Go.\n", "is CSV", "sep='\"'\"';'"),
        ("a.tsv", b"id\ttranscript\nr1\tGo.\n", "is TSV", "sep="),
        ("a.parquet", "parquet", "is Parquet", "read_parquet"),
        ("a.feather", "feather", "is Arrow", "read_feather"),
        ("a.jsonl", gzip.compress(RECORD.encode()), "compressed: gzip", "gunzip --keep a.jsonl"),
        ("a.jsonl.bz2", bz2.compress(RECORD.encode()), "compressed: bzip2", "bunzip2"),
        ("a.jsonl.xz", lzma.compress(RECORD.encode()), "compressed: xz", "unxz"),
        ("a.jsonl", RECORD.encode("utf-16"), "is UTF-16,", "iconv -f UTF-16 "),
        ("a.jsonl", RECORD.encode("utf-16-le"), "is UTF-16LE", "iconv -f UTF-16LE "),
        ("a.jsonl", RECORD.encode("utf-16-be"), "is UTF-16BE", "iconv -f UTF-16BE "),
        ("a.jsonl", RECORD.encode("utf-32"), "is UTF-32,", "iconv"),
        ("a.jsonl", RECORD.encode("utf-32-le"), "is UTF-32LE", "iconv"),
        ("a.jsonl", RECORD.encode("utf-32-be"), "is UTF-32BE", "iconv"),
        ("a.wav", riff(b"\0\0", tag=1, bits=16, rate=16000), "is a WAV clip", "JSONL file"),
        ("a.jsonl", b"<!DOCTYPE html>\n<html></html>\n", "is a page in HTML or XML", "JSONL file"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no text", "JSONL file"),
        ("a.pkl", pickle.dumps([line()]), "is no text", "JSONL file"),
        ("a.tar", b"clips.jsonl".ljust(512, b"\0") + RECORD.encode(), "is no text", "JSONL file"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named_with_the_way_to_jsonl(
    tmp_path: Path, name: str, content: bytes | str, problem: str, fix: str
) -> None:
    file = tmp_path / name
    if isinstance(content, str):
        pandas = pytest.importorskip("pandas")
        getattr(pandas.DataFrame([{"id": "r1"}]), f"to_{content}")(file)
    else:
        file.write_bytes(content)
    with pytest.raises(BadRecordsError) as raised:
        read_records(file, FORMAT)
    (found,) = raised.value.problems
    assert found.line is None
    assert problem in found.problem
    assert fix in found.fix


def test_the_command_for_a_table_in_text_converts_it(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    file = tmp_path / "it's a table.csv"
    file.write_text(TABLE)
    with pytest.raises(BadRecordsError) as raised:
        read_records(file, FORMAT)
    command = (
        raised.value.problems[0].fix.removeprefix("convert it: python -c ").rpartition("; each")[0]
    )
    (code,) = shlex.split(command)
    with contextlib.chdir(tmp_path):
        exec(code, {})  # what the message tells the user to run
    lines = [
        json.loads(line) for line in (tmp_path / "it's a table.jsonl").read_text().splitlines()
    ]
    assert lines[1] == {"id": "r2", "transcript": "Stop, now.", "wav_path": "b.wav"}


@pytest.mark.parametrize(
    "first", ['"id": "r1", "transcript": "Go."}', "{", "[", '{"id": "r1",', "id, name", "7, 8"]
)
def test_a_broken_first_line_of_jsonl_is_no_table(
    problems_of: Callable[..., list[Problem]], first: str
) -> None:
    (problem,) = problems_of(first, line(2))
    assert problem.line == 1
    assert "JSON" in problem.problem or "not an object" in problem.problem


@pytest.mark.parametrize("key", ["scene", "character", "language", "audio_info", "any", "\ud83d"])
@pytest.mark.parametrize("nest", [lambda text: text, lambda text: {"a": ["b", text]}])
def test_half_a_surrogate_pair_is_refused_under_every_key(
    problems_of: Callable[..., list[Problem]], key: str, nest: Callable[[str], Any]
) -> None:
    value = nest("x" if key == "\ud83d" else "x\udc00")
    (problem,) = problems_of(json.dumps(line(1, **{key: value})), line(2))
    assert problem.line == 1
    assert (problem.key or "").startswith(key if key != "\ud83d" else "\\ud83d")
    assert "surrogate" in problem.problem


def test_whole_surrogate_pairs_are_characters(folder: Path, write_jsonl: Writer) -> None:
    file = write_jsonl(folder / "a.jsonl", json.dumps(line(1, transcript="Ha 🙂", system="🙂")))
    assert "\\ud83d" in file.read_text()
    assert read_records(file, FORMAT).records[0].system == "🙂"


@pytest.mark.parametrize("value", [3, 1.5, True, ["a"], {"a": 1}])
def test_a_system_that_is_no_text_is_refused(
    problems_of: Callable[..., list[Problem]], value: Any
) -> None:
    (problem,) = problems_of(line(1, system=value), line(2, system=None))
    assert (problem.line, problem.key, problem.fix) == (1, "system", "write it in quotes")


@pytest.mark.parametrize("value", [3, True, ["Calm."]])
def test_nested_optional_texts_are_checked(
    problems_of: Callable[..., list[Problem]], value: Any
) -> None:
    fmt = replace(FORMAT, optional_texts=("audio_info.caption",))
    records = line(1, audio_info={"caption": value}), line(2, audio_info=3), line(3)
    (problem,) = problems_of(*records, fmt=fmt)
    assert (problem.line, problem.key) == (1, "audio_info.caption")


def test_skip_goes_on_with_the_good_ones_and_says_which_were_bad(
    folder: Path, write_jsonl: Writer
) -> None:
    file = write_jsonl(folder / "a.jsonl", line(1, wav_path="x.wav", transcript=""), line(2), "{")
    result = read_records(file, FORMAT, on_bad="skip")
    assert [record.id for record in result.records] == ["r2"]
    assert {p.line for p in result.skipped} == {1, 3}
    assert [(p.line, p.key) for p in result.skipped] == [
        (1, "transcript"),
        (1, "wav_path"),
        (3, None),
    ]


def test_skip_does_not_go_on_without_any_record(folder: Path, write_jsonl: Writer) -> None:
    file = write_jsonl(folder / "a.jsonl", line(1, transcript=""))
    with pytest.raises(BadRecordsError, match="Not one good record is left"):
        read_records(file, FORMAT, on_bad="skip")


def test_a_wrong_audio_root_is_reported_once_and_never_skipped(
    folder: Path, write_jsonl: Writer
) -> None:
    file = write_jsonl(folder / "a.jsonl", line(1), line(2))
    with pytest.raises(BadRecordsError) as caught:
        read_records(file, FORMAT, audio_root=folder / "nowhere", on_bad="skip")
    (found,) = caught.value.problems
    assert (found.line, found.key) == (None, "audio_root")


# Clips


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.wav", b"", "empty (0 bytes)"),
        ("text.wav", b"this is not audio\n" * 50, "not an audio format|neither libsndfile"),
        ("gone.wav", None, "no such file: gone.wav"),
    ],
)
def test_clips_that_cannot_be_used(
    problems_of: Any, folder: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    (found,) = problems_of(line(1), line(2, wav_path=name))
    assert (found.line, found.id, found.key) == (2, "r2", "wav_path")
    assert any(part in found.problem for part in problem.split("|"))
    assert name in found.problem


def test_a_folder_is_no_clip(problems_of: Any, folder: Path) -> None:
    (folder / "clips").mkdir()
    (found,) = problems_of(line(1, wav_path="clips"))
    assert found.key == "wav_path"


@pytest.mark.parametrize("path", ["a\0b.wav", "x" * 5_000, ".", "/", "//"])
def test_paths_no_file_can_have(problems_of: Any, path: str) -> None:
    (found,) = problems_of(line(1, wav_path=path))
    assert (found.line, found.key) == (1, "wav_path")


def test_long_clips_are_rejected_or_trimmed_with_a_notice(
    problems_of: Any, folder: Path, make_wav: Writer, write_jsonl: Writer
) -> None:
    make_wav(folder / "long.wav", seconds=3.5, rate=8_000)
    (found,) = problems_of(line(1, wav_path="long.wav"), max_seconds=3.0)
    assert "3.5 s, more than 3 s" in found.problem
    assert "on_long=trim" in found.fix
    file = write_jsonl(folder / "a.jsonl", line(1), line(2, wav_path="long.wav"))
    result = read_records(file, FORMAT, max_seconds=3.0, on_long="trim")
    assert [record.seconds for record in result.records] == [0.5, 3.0]
    assert result.notices == ["1 clip trimmed to the first 3 s (line 2)"]
    assert read_records(file, FORMAT, max_seconds=3.5).records[1].seconds == 3.5


def test_a_clip_shorter_than_one_audio_token_is_refused(
    problems_of: Any, folder: Path, make_wav: Writer
) -> None:
    make_wav(folder / "short.wav", seconds=0.03)
    (found,) = problems_of(line(1, wav_path="short.wav"))
    assert "0.03 s, too short" in found.problem


def test_a_clip_used_by_many_records_is_read_once(
    folder: Path, write_jsonl: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dramaeval.data import records as module

    seen: list[Path] = []
    original = module.read_header

    def counting(path: Path) -> Any:
        seen.append(path)
        return original(path)

    monkeypatch.setattr(module, "read_header", counting)
    file = write_jsonl(folder / "a.jsonl", *(line(number) for number in range(20)))
    assert len(read_records(file, FORMAT).records) == 20
    assert seen == [folder / "clip.wav"]


def test_a_thousand_records_are_checked_in_seconds(
    folder: Path, write_jsonl: Writer, make_wav: Writer
) -> None:
    content = make_wav(folder / "0.wav", seconds=3.0).read_bytes()
    for number in range(1_000):
        (folder / "audio" / str(number % 10)).mkdir(parents=True, exist_ok=True)
        (folder / "audio" / str(number % 10) / f"c{number}.wav").write_bytes(content)
    lines = [line(number, wav_path=f"else/where/c{number}.wav") for number in range(1_000)]
    file = write_jsonl(folder / "a.jsonl", *lines)
    start = time.monotonic()
    records = read_records(file, FORMAT).records
    assert time.monotonic() - start < 10  # 0.3 s on two idle cores
    assert [record.clip.name for record in records] == [f"c{n}.wav" for n in range(1_000)]


# The published data, where it is at hand

needs_real = pytest.mark.skipif(not REAL.is_dir(), reason=f"the published clips are not in {REAL}")
REALISM = ("pitch_variation", "rhythmic_naturalness", "stress_and_emphasis", "emotion_accuracy",
           "emotion_intensity_control", "dynamic_range", "voice_identity_matching",
           "trait_embodiment", "local_story_fit", "global_story_coherence")  # fmt: skip


@needs_real
def test_published_realism_records() -> None:
    fmt = RecordFormat(
        text_fields=("local_scene", "char_age", "char_style", "char_profile", "transcript"),
        annotation_fields=tuple(AnnotationField(name=name, low=1, high=5) for name in REALISM),
    )
    file = REAL / "realism" / "test.jsonl"
    with pytest.raises(BadRecordsError) as caught:
        read_records(file, fmt)
    (found,) = caught.value.problems
    assert (found.file, found.line, found.id) == (file, 1, "role-eval_v1_0000")
    assert found.key == "wav_path"
    assert "realism_data/role-eval_v1_0000.wav" in str(caught.value)
    result = read_records(file, fmt, on_bad="skip")
    (record,) = result.records
    assert (record.id, record.clip.name) == ("role-eval_v1_0001", "role-eval_v1_0001.wav")
    assert record.ratings["dynamic_range"] == (5, 5, 1, 5, 5, 5)
    assert record.fields["annotations"]["sufficient"] == [True] * 6
    assert {p.line for p in result.skipped} == {1}


@needs_real
def test_published_archetype_records() -> None:
    scored = ("audio_quality", "human_likeness", "appropriateness")
    fmt = RecordFormat(
        text_fields=("question",),
        annotation_fields=(
            AnnotationField(name="content_pass", low=0, high=1),
            *(AnnotationField(name=name, low=1, high=5) for name in scored),
        ),
    )
    rejected, passed = read_records(REAL / "archetype" / "test.jsonl", fmt).records
    assert rejected.ratings["content_pass"] == (0,) * 6
    assert all(rejected.ratings[name] == (None,) * 6 for name in scored)
    assert passed.ratings["appropriateness"] == (4, 4, 4, 4, 5, 5)
    assert math.isclose(passed.seconds, 13.64, abs_tol=0.01)
