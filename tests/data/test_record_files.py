"""Files of records: empty files, other kinds of files, broken text, skipped records."""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rated_lines import FORMAT, line
from wav_by_hand import riff

from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import read_records

Writer = Callable[..., Path]


@pytest.mark.parametrize("content", [b"", b"\n\n  \r\n", codecs.BOM_UTF8])
@pytest.mark.parametrize("on_bad", ["stop", "skip"])
def test_an_empty_file_is_an_error(tmp_path: Path, content: bytes, on_bad: Any) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    with pytest.raises(BadRecordsError, match="holds no records"):
        read_records(file, FORMAT, on_bad=on_bad)


def test_missing_files_folders_and_indented_json_are_refused(tmp_path: Path) -> None:
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
        ("a.jsonl", TABLE.encode(), "is CSV", "stages=[import] importer=csv importer.file="),
        ("a.csv", TABLE.encode("utf-8-sig"), "is CSV", "importer=csv"),
        ("a.csv", b"id;transcript\nr1;Go.\n", "is CSV", "importer=csv"),
        ("a.tsv", b"id\ttranscript\nr1\tGo.\n", "is TSV", "importer=csv"),
        ("a.parquet", "parquet", "is Parquet", "importer=parquet"),
        ("a.feather", "feather", "is Arrow", "save it as Parquet"),
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
def test_a_file_of_another_format_is_refused_with_a_fix(
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


@pytest.mark.parametrize(
    "first", ['"id": "r1", "transcript": "Go."}', "{", "[", '{"id": "r1",', "id, name", "7, 8"]
)
def test_a_broken_first_line_of_jsonl_is_not_read_as_a_table(
    problems_of: Callable[..., list[Problem]], first: str
) -> None:
    (problem,) = problems_of(first, line(2))
    assert problem.line == 1
    assert "JSON" in problem.problem or "not an object" in problem.problem


@pytest.mark.parametrize("key", ["scene", "character", "language", "audio_info", "any", "\ud83d"])
@pytest.mark.parametrize("wrap", [lambda text: text, lambda text: {"a": ["b", text]}])
def test_half_a_surrogate_pair_is_refused_under_every_key(
    problems_of: Callable[..., list[Problem]], key: str, wrap: Callable[[str], Any]
) -> None:
    value = wrap("x" if key == "\ud83d" else "x\udc00")
    (problem,) = problems_of(json.dumps(line(1, **{key: value})), line(2))
    assert problem.line == 1
    assert (problem.key or "").startswith(key if key != "\ud83d" else "\\ud83d")
    assert "surrogate" in problem.problem


def test_complete_surrogate_pairs_are_characters(folder: Path, write_jsonl: Writer) -> None:
    file = write_jsonl(folder / "a.jsonl", json.dumps(line(1, transcript="Ha 🙂", system="🙂")))
    assert "\\ud83d" in file.read_text()
    assert read_records(file, FORMAT).records[0].system == "🙂"


@pytest.mark.parametrize("value", [3, 1.5, True, ["a"], {"a": 1}])
def test_a_system_that_is_not_text_is_refused(
    problems_of: Callable[..., list[Problem]], value: Any
) -> None:
    (problem,) = problems_of(line(1, system=value), line(2, system=None))
    assert (problem.line, problem.key, problem.fix) == (1, "system", "write it in quotes")


@pytest.mark.parametrize("value", [3, True, ["Calm."]])
def test_an_optional_text_in_a_nested_key_must_be_text(
    problems_of: Callable[..., list[Problem]], value: Any
) -> None:
    fmt = replace(FORMAT, optional_texts=("audio_info.caption",))
    records = line(1, audio_info={"caption": value}), line(2, audio_info=3), line(3)
    (problem,) = problems_of(*records, fmt=fmt)
    assert (problem.line, problem.key) == (1, "audio_info.caption")


def test_skip_keeps_the_valid_records_and_reports_the_others(
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


def test_equal_texts_of_a_file_are_in_memory_once(folder: Path, write_jsonl: Writer) -> None:
    file = write_jsonl(folder / "a.jsonl", line(1), line(2, transcript="Stop."), line(3))
    first, second, third = (record.fields for record in read_records(file, FORMAT).records)
    assert first["transcript"] is third["transcript"]
    assert (second["transcript"], second["id"]) == ("Stop.", "r2")
    assert all(key is same_key for key, same_key in zip(first, third, strict=True))


def test_skip_is_an_error_without_a_valid_record(folder: Path, write_jsonl: Writer) -> None:
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
