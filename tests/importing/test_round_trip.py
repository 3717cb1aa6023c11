"""Records that are written to JSONL and read again give the rows and the ratings of the source."""

import csv
import io
import json
import tarfile

import datasets
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_rows import source_rows

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.importer import read_import, records_text

#: Texts with quotes, line breaks and other scripts, and texts that look like numbers.
ROWS = [
    {"clip": "a.wav", "rater": "007", "question": "pace", "score": 4, "note": 'He said "no",\nthen left'},
    {"clip": "a.wav", "rater": "007", "question": "warmth", "score": 2.5, "note": "拖延"},
    {"clip": "a.wav", "rater": "1e3", "question": "pace", "score": 5, "note": " NA "},
    {"clip": "b.wav", "rater": "1e3", "question": "warmth", "score": 1, "note": "true"},
]  # fmt: skip


def as_csv(folder, delimiter=",", name="source.csv"):
    file = folder / name
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return file, [{key: str(value) for key, value in row.items()} for row in ROWS]


def as_tsv(folder):
    return as_csv(folder, "\t", "source.tsv")


def as_excel(folder):
    book = openpyxl.Workbook()
    book.active.append(list(ROWS[0]))
    for row in ROWS:
        book.active.append(list(row.values()))
    book.save(folder / "source.xlsx")
    return folder / "source.xlsx", ROWS


def as_jsonl(folder):
    file = folder / "source.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return file, ROWS


def as_parquet(folder):
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "source.parquet")
    return folder / "source.parquet", ROWS


def as_dataset(folder):
    datasets.Dataset.from_list(ROWS).save_to_disk(folder / "source")
    # Names of clips are relative to the folder of the data set.
    for name in ("a.wav", "b.wav"):
        (folder / "source" / name).write_bytes((folder / name).read_bytes())
    return folder / "source", ROWS


FORMATS = [as_csv, as_tsv, as_excel, as_jsonl, as_parquet, as_dataset]


def round_trip(file, folder, **settings):
    """The records of a source after they were written as JSONL and read."""
    imported = read_import(ImporterConfig(file=str(file), **settings), folder / "clips")
    return [json.loads(line) for line in records_text(imported.records).splitlines()]


def ratings_of(records):
    """Every rating as (clip, rater, question, score), read only from the annotations."""
    return {
        (record["id"], rater, question, score)
        for record in records
        for question, scores in record["annotations"].items()
        for rater, score in zip(record["raters"], scores, strict=True)
        if score is not None
    }


@pytest.mark.parametrize("write", FORMATS)
def test_rows_and_ratings_are_read_back(write, tmp_path, clip):
    for name in ("a.wav", "b.wav"):
        clip(name)
    file, rows = write(tmp_path)
    records = round_trip(file, tmp_path)
    assert source_rows(records) == rows
    assert ratings_of(records) == {
        (row["clip"].removesuffix(".wav"), row["rater"], row["question"], row["score"])
        for row in ROWS
    }


def test_members_of_an_archive_are_read_back(tmp_path, clip):
    sound = (tmp_path / clip("a.wav")).read_bytes()
    values = {f"u{n}": {"rater": f"r{n}", "score": n, "note": "拖延"} for n in (1, 2)}
    with tarfile.open(tmp_path / "source.tar", "w") as archive:
        for key, fields in values.items():
            parts = {"wav": sound, "json": json.dumps(fields).encode(), "txt": b"Some text"}
            for ending, content in parts.items():
                info = tarfile.TarInfo(f"{key}.{ending}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    rows = source_rows(round_trip(tmp_path / "source.tar", tmp_path))
    clips = [row.pop("clip") for row in rows]
    assert [(tmp_path / "clips" / name).read_bytes() for name in clips] == [sound, sound]
    assert rows == [
        {"__key__": key, **fields, "txt": "Some text"} for key, fields in values.items()
    ]


def test_lines_of_a_kaldi_folder_are_read_back(tmp_path, clip):
    lines = {
        "u1": (clip("a.wav"), "s1", "hello  there", "4"),
        "u2": (clip("b.wav"), "s2", "bye", "1"),
    }
    for number, name in enumerate(("wav.scp", "utt2spk", "text", "utt2pace")):
        text = "".join(f"{key} {values[number]}\n" for key, values in lines.items())
        (tmp_path / name).write_text(text, encoding="utf-8")
    rows = source_rows(round_trip(tmp_path, tmp_path))
    names = ("clip", "speaker", "text", "utt2pace")
    assert rows == [
        {"id": key, **dict(zip(names, values, strict=True))} for key, values in lines.items()
    ]
