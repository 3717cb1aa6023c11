"""Lines of a JSONL file of records: accepted forms and refused ones."""

from __future__ import annotations

import codecs
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rated_lines import FORMAT, line, ratings

from dramaeval.data.annotation_fields import written_values
from dramaeval.data.raters import RaterInfo
from dramaeval.data.records import RecordFormat, read_records

Writer = Callable[..., Path]


# Accepted records


def test_a_valid_record_keeps_all_its_fields(folder: Path, write_jsonl: Writer) -> None:
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
    assert pickle.loads(pickle.dumps(record)) == record  # records are pickled for worker processes


def test_ratings_may_be_at_the_top_level(folder: Path, write_jsonl: Writer) -> None:
    top = line(annotations=..., **ratings(pitch_variation=[4, 4, 4]))
    split = line(2, annotations={"pitch_variation": [1, 1, 1]}, dynamic_range=[5, 5, 5])
    first, second = read_records(write_jsonl(folder / "a.jsonl", top, split), FORMAT).records
    assert first.ratings["pitch_variation"] == (4.0, 4.0, 4.0)
    assert second.ratings == {"pitch_variation": (1.0,) * 3, "dynamic_range": (5.0,) * 3}


def test_missing_ratings_are_read_as_none(folder: Path, write_jsonl: Writer) -> None:
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
        line(2, annotations=ratings(pitch_variation={"ann ": 4, "bo": None}, dynamic_range={"cy": 5})),
        line(3, raters=["ann", 7, " bo\t"]),
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


def test_written_values_returns_the_ratings_as_in_the_file(
    folder: Path, write_jsonl: Writer
) -> None:
    forms = ratings(
        pitch_variation={"x": 4, "y": "N/A"}, dynamic_range={"mean": 3.5}, content_pass=[True, None]
    )
    file = write_jsonl(folder / "a.jsonl", line(annotations=forms))
    (record,) = read_records(file, FORMAT).records
    values = [written_values(record.fields, field.name) for field in FORMAT.annotation_fields]
    assert values == [[4, "N/A"], [3.5], [True, None]]
    assert written_values({"dynamic_range": 3.5}, "dynamic_range") == [3.5]
    assert written_values({}, "dynamic_range") == []


def test_invalid_flat_keys_are_refused(problems_of: Any) -> None:
    off_scale, twice = problems_of(
        line(1, annotations=ratings(pitch_variation=...), annotation3_pitch_variation=7),
        line(2, final0_dynamic_range=3),
    )
    assert (off_scale.key, off_scale.problem) == (
        "pitch_variation",
        "off the scale 1 to 5: 7 (rater annotation3)",
    )
    assert twice.problem == ('differs between the list "dynamic_range" and the flat keys (final0)')


def test_byte_order_marks_crlf_blank_lines_and_line_separators_are_accepted(
    folder: Path, write_jsonl: Writer
) -> None:
    text = "one\u2028two\u0085three"  # str.splitlines would split this record into three lines
    file = write_jsonl(folder / "a.jsonl", line(1, transcript=text), "", "  ", line(2), end=b"\r\n")
    file.write_bytes(codecs.BOM_UTF8 + file.read_bytes() + codecs.BOM_UTF8 + b"\n")
    # The third record comes from an appended file that starts with a byte order mark and has no final line end.
    file.write_bytes(file.read_bytes() + codecs.BOM_UTF8 + json.dumps(line(3)).encode())
    records = read_records(file, FORMAT, on_bad="skip").records
    assert [(record.id, record.line) for record in records] == [("r1", 1), ("r2", 4), ("r3", 6)]
    assert records[0].fields["transcript"] == text


@pytest.mark.parametrize("name", ["with space.wav", 'qu"o\'te.wav', "演技.wav", "new\nline.wav",
                                  "-dash.wav", "$HOME;.wav", "back\\slash.wav"])  # fmt: skip
def test_clips_with_unusual_file_names_are_found(
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


# Refused records: (line, key, part of the problem, part of the fix)


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
def test_lines_that_are_not_json_objects_are_refused(
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
        ({"annotations": ratings(pitch_variation={"ann": 4, "ann ": 5})}, "pitch_variation",
         "the same rater twice: ann", "each rater one value"),
        ({"annotations": ratings(raters=["ann", "bo", " ann"])}, "raters",
         "the same rater twice: ann", '"unknown"'),
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
def test_invalid_records_are_refused_with_key_and_fix(
    problems_of: Any, changes: dict[str, Any], key: str, problem: str | None, fix: str | None
) -> None:
    written = json.dumps(
        line(2, **changes)
    )  # escaped as ASCII, since half a surrogate pair cannot be encoded
    (found,) = problems_of(line(1), written)
    assert (found.line, found.key) == (2, key)
    assert found.id == (None if key == "id" else "r2")
    if problem is None:
        problem, fix = "2 ratings where the other fields have 3", "null where a rater gave none"
    assert problem in found.problem
    assert fix is not None
    assert fix in found.fix


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_refused_with_their_key(problems_of: Any, literal: str) -> None:
    written = json.dumps(line(1, extra={"confidence": [3, 99]})).replace("99", literal)
    (found,) = problems_of(written)
    assert (found.line, found.key) == (1, "extra.confidence")
    assert literal.strip("-") in found.problem
    assert "null" in found.fix


def test_a_number_too_large_for_a_float_is_off_the_scale(problems_of: Any) -> None:
    written = json.dumps(line(1, annotations=ratings(pitch_variation=[7, 1, 1])))
    (found,) = problems_of(written.replace("7", "1e999"))
    assert "off the scale" in found.problem


def test_a_text_that_contains_nan_is_accepted(folder: Path, write_jsonl: Writer) -> None:
    file = write_jsonl(folder / "a.jsonl", line(1, transcript="NaN, to Infinity and beyond"))
    assert len(read_records(file, FORMAT).records) == 1


def test_a_repeated_key_is_refused(problems_of: Any) -> None:
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
