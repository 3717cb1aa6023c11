"""Each format of a source gives the expected records; the files are written by hand or by the library of the format."""

import datetime
import io
import json
import tarfile
from pathlib import Path

import datasets
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from presets import preset
from source_rows import source_rows

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.archives import read_webdataset
from dramaeval.importing.extracted_audio import AudioFolder
from dramaeval.importing.importer import read_import, records_text
from dramaeval.importing.problems import BadSourceError

ROWS = [("a.wav", "r1", 4, 2.5), ("a.wav", "r2", 5, None), ("b.wav", "r2", 1, 3)]
EXPECTED = {
    "a": {"pace": [4, 5], "warmth": [2.5, None]},
    "b": {"pace": [None, 1], "warmth": [None, 3]},
}


def read(path, **settings):
    return read_import(ImporterConfig(file=str(path), **settings), path.parent / "out")


def annotations(imported):
    return {record["id"]: record["annotations"] for record in imported.records}


@pytest.fixture
def workbook(tmp_path, clip):
    clip("a.wav")
    clip("b.wav")

    def write(*rows, sheets=("Ratings",)):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for name in sheets:
            sheet = book.create_sheet(name)
            for row in (("clip", "rater", "pace", "warmth"), *rows):
                sheet.append(row)
        path = tmp_path / "ratings.xlsx"
        book.save(path)
        return path

    return write


def test_an_excel_workbook_is_imported(workbook):
    imported = read(workbook(*ROWS))
    assert annotations(imported) == EXPECTED
    names = ("clip", "rater", "pace", "warmth")
    assert source_rows(imported.records) == [dict(zip(names, row, strict=True)) for row in ROWS]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (datetime.datetime(2026, 5, 1), "2026-05-01T00:00:00 is a date"),
        ("=1+2", "'=1+2' has no saved result"),
        ("#DIV/0!", "'#DIV/0!' is not a number"),
        ("1,5", "'1,5' can be 1.5 or two numbers"),
    ],
)
def test_excel_cells_that_are_not_scores_are_reported(workbook, cell, problem):
    with pytest.raises(BadSourceError) as error:
        read(workbook(*ROWS, ("b.wav", "r1", cell, 1)))
    first = error.value.problems[0]
    assert (first.line, first.key) == (5, "pace")
    assert problem in first.problem


def test_a_workbook_of_several_sheets_needs_the_name_of_one(workbook):
    path = workbook(*ROWS, sheets=("One", "Two"))
    with pytest.raises(BadSourceError, match="2 sheets with rows"):
        read(path)
    assert annotations(read(path, sheet="Two")) == EXPECTED


def test_a_jsonl_file_is_imported(tmp_path, clip):
    records = [
        {
            "id": "x",
            "wav_path": clip("a.wav"),
            "annotations": {"pace": [4, None, 5]},
            "mood": "dry",
        },
        {"id": "y", "wav_path": clip("b.wav"), "annotations": {"pace": [1, 2, 3]}, "mood": "wet"},
    ]
    path = tmp_path / "source.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    imported = read(path, dimensions={"pace": "annotations.pace"})
    assert annotations(imported) == {"x": {"pace": [4, None, 5]}, "y": {"pace": [1, 2, 3]}}
    assert [record["mood"] for record in imported.records] == ["dry", "wet"]
    assert source_rows(imported.records) == records


@pytest.mark.parametrize(("positions", "raters"), [("raters", ["1", "2"]), (None, "unknown")])
def test_positions_of_lists_are_raters_only_if_the_settings_say_so(
    tmp_path, clip, positions, raters
):
    path = tmp_path / "source.jsonl"
    path.write_text(json.dumps({"wav_path": clip("a.wav"), "pace": [4, None]}))
    (record,) = read(path, dimensions=["pace"], positions=positions).records
    assert record["annotations"] == {"pace": [4, None]}
    assert record["raters"] == raters


def label_studio_task(number, audio, *annotations):
    return {"id": number, "data": {"audio": audio, "text": "hi"}, "annotations": annotations}


def test_an_export_of_label_studio_is_imported(tmp_path, clip):
    clip("a.wav")
    clip("up/7f3a-b.wav")
    rating = {"from_name": "pace", "type": "rating", "value": {"rating": 4}}
    choice = {"from_name": "warmth", "type": "choices", "value": {"choices": ["Good"]}}
    region = {"from_name": "spans", "type": "labels", "value": {"start": 0, "labels": ["x"]}}
    tasks = [
        label_studio_task(
            1,
            "/data/local-files/?d=a.wav",
            {"completed_by": {"id": 3, "email": "u@x"}, "result": [rating, choice, region]},
            {"completed_by": 4, "result": [rating], "was_cancelled": True},
        ),
        label_studio_task(2, "/data/upload/1/7f3a-b.wav", {"completed_by": 4, "result": [rating]}),
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    imported = read(path, labels={"Good": 5}, **preset("label_studio"))
    assert annotations(imported) == {
        "a": {"pace": [4, None], "warmth": [5, None]},
        "7f3a-b": {"pace": [None, 4], "warmth": [None, None]},
    }
    assert imported.raters == ["3", "4"]
    labels = {dimension.name: dimension.labels for dimension in imported.dimensions}
    assert labels == {"pace": {}, "warmth": {5: "Good"}}
    assert imported.records[0]["transcript"] == "hi"
    assert {"1 cancelled annotation not read.", "1 result of type labels not read."} <= set(
        imported.notices
    )


def test_parquet_with_audio_inside(tmp_path, clip):
    sound = (tmp_path / clip("a.wav")).read_bytes()
    path = tmp_path / "in" / "ratings.parquet"
    path.parent.mkdir()
    cells = [{"bytes": sound, "path": "../../evil.wav"}, {"bytes": sound, "path": None}]
    pq.write_table(pa.table({"audio": cells, "rater": ["r", "r"], "score": [3, None]}), path)
    imported = read(path)
    assert annotations(imported) == {"evil": {"score": [3]}, "clip-000002": {"score": [None]}}
    written = sorted((path.parent / "out").iterdir())
    assert [file.name for file in written] == ["clip-000002.wav", "evil.wav"]
    assert all(file.read_bytes() == sound for file in written)


def test_typed_values_of_parquet_are_written_as_json(tmp_path, clip):
    clip("a.wav")
    path = tmp_path / "ratings.parquet"
    day = datetime.date(2026, 5, 1)
    columns = {"clip": ["a.wav"], "rater": ["r"], "score": [3], "snr": [float("nan")], "day": [day]}
    pq.write_table(pa.table({**columns, "hash": [b"\x00\xff"]}), path)
    line = json.loads(records_text(read(path).records))
    values = line["source"][0]["values"]
    assert (values["snr"], values["day"], values["hash"]) == (None, "2026-05-01", "AP8=")


def test_a_folder_of_audio_with_ratings_from_a_table(tmp_path, clip):
    clip("in/x/a.wav")
    clip("in/b.wav")
    (tmp_path / "in" / "scores.csv").write_text("name,pace\na,4\nb,2\n")
    settings = preset("audio_folder")
    imported = read(tmp_path / "in", **settings)
    assert [(r["id"], r["annotations"], r.get("folder")) for r in imported.records] == [
        ("b", {}, None),
        ("a", {}, "x"),
    ]
    settings |= {"joins": {"scores.csv": {"on": "name"}}, "dimensions": ["pace"]}
    rated = read(tmp_path / "in", **settings)
    assert annotations(rated) == {"a": {"pace": [4]}, "b": {"pace": [2]}}


def test_damaged_audio_inside_parquet_is_reported(tmp_path, clip):
    sound = (tmp_path / clip("a.wav")).read_bytes()
    path = tmp_path / "ratings.parquet"
    cells = [{"bytes": sound[:-900], "path": "cut.wav"}]
    pq.write_table(pa.table({"audio": cells, "rater": ["r"], "score": [3]}), path)
    with pytest.raises(BadSourceError, match=r"cut\.wav"):
        read(path)


def test_saved_datasets_with_splits_audio_and_class_labels(tmp_path, clip):
    labels = datasets.ClassLabel(names=["2", "4"])

    def part(name, score):
        content = (tmp_path / clip(name)).read_bytes()
        columns = {"audio": [{"bytes": content, "path": name}], "rater": ["r"], "score": [score]}
        plain = datasets.Dataset.from_dict(columns)
        return plain.cast_column("audio", datasets.Audio()).cast_column("score", labels)

    parts = {"train": part("a.wav", 1), "validation": part("b.wav", 0)}
    path = tmp_path / "saved"
    datasets.DatasetDict(parts).save_to_disk(path)
    imported = read(path)
    assert [record["annotations"] for record in imported.records] == [
        {"score": [4]},
        {"score": [2]},
    ]
    assert imported.splits == ["train", "val"]


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_a_class_label_of_minus_one_is_a_missing_rating(tmp_path, clip, form):
    """The library datasets writes -1 for a row without a label."""
    labels = datasets.ClassLabel(names=["2", "4"])
    clips = [str(tmp_path / clip(name)) for name in ("a.wav", "b.wav")]
    columns = {"clip": clips, "rater": ["r", "r"], "pace": [1, -1], "warmth": [-1, None]}
    data = datasets.Dataset.from_dict(columns)
    data = data.cast_column("pace", labels).cast_column("warmth", labels)
    path = tmp_path / ("x.parquet" if form == "parquet" else "saved")
    data.to_parquet(path) if form == "parquet" else data.save_to_disk(path)
    imported = read(path, dimensions=["pace", "warmth"])
    assert annotations(imported) == {
        "a": {"pace": [4], "warmth": [None]},
        "b": {"pace": [None], "warmth": [None]},
    }


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "saved", "kaldi", "tar", "xlsx"])
def test_a_source_without_rows_is_reported(tmp_path, form):
    path = tmp_path / f"x.{form}"
    columns = {"clip": pa.array([], pa.string()), "score": pa.array([], pa.int64())}
    if form == "csv":
        path.write_text("clip,score\n")
    elif form == "jsonl":
        path.write_text("\n")
    elif form == "parquet":
        pq.write_table(pa.table(columns), path)
    elif form == "saved":
        datasets.Dataset(pa.table(columns)).save_to_disk(path)
    elif form == "kaldi":
        path.mkdir()
        (path / "wav.scp").write_text("")
    elif form == "tar":
        tarfile.open(path, "w").close()
    else:
        openpyxl.Workbook().save(path)
    with pytest.raises(BadSourceError, match=r"(no|0 sheets with) (rows|records|samples)"):
        read(path, where={"split": "train"})


def test_a_webdataset_archive_is_imported(tmp_path, clip):
    clip("a.wav")
    path = tmp_path / "in" / "shard.tar"
    path.parent.mkdir()
    members = {
        "x/1.wav": (tmp_path / "a.wav").read_bytes(),
        "x/1.json": json.dumps({"rater": "r", "score": 3}).encode(),
        "x/1.txt": b"hello",
        "x/2.wav": (tmp_path / "a.wav").read_bytes(),
        "x/2.json": b'{"rater": "r", "score": 5}',
        "../up.wav": b"",
    }
    with tarfile.open(path, "w") as archive:
        for name, content in list(members.items())[:-1]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    imported = read(path, columns={"transcript": "txt"})
    assert annotations(imported) == {"x_1": {"score": [3]}, "x_2": {"score": [5]}}
    assert [record.get("transcript") for record in imported.records] == ["hello", None]
    assert not (tmp_path / "up.wav").exists()


def test_samples_of_an_archive_keep_their_names_and_their_audio(tmp_path, clip):
    """A leading dot belongs to a name, and a JSON member does not replace the audio member or the key."""
    path, audio = tmp_path / "shard.tar", (tmp_path / clip("a.wav")).read_bytes()
    described = json.dumps({"__key__": "other", "clip": "elsewhere.wav", "score": 4}).encode()
    with tarfile.open(path, "w") as archive:
        for name, data in (
            ("./.x/1.wav", audio), ("x/1.wav", audio), ("x/1.cls", b"2"), (".x/1.json", described),
            ("/y/1.json", described), ("/y/1.wav", audio),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    settings = ImporterConfig(file=str(path))
    table = read_webdataset(path, settings, AudioFolder(tmp_path / "audio"))
    assert [row.values["__key__"] for row in table.rows] == [".x/1", "x/1", "y/1"]
    written = {Path(row.values["clip"]) for row in table.rows}
    assert len(written) == 3
    assert all(clip.parent == tmp_path / "audio" and clip.is_file() for clip in written)
    assert [row.values.get("score") for row in table.rows] == [4, None, 4]


@pytest.mark.parametrize(
    ("member", "content", "expected"),
    [("cls", b"3", [3]), ("json", b'{"pace": [4, null, 5]}', [4, None, 5])],
)
def test_in_an_archive_numbers_and_lists_are_ratings_and_keys_are_not(
    tmp_path, clip, member, content, expected
):
    """Keys such as 0001 look like scores of a dimension."""
    path, audio = tmp_path / "shard.tar", (tmp_path / clip("a.wav")).read_bytes()
    with tarfile.open(path, "w") as archive:
        for name, data in (("0001.wav", audio), (f"0001.{member}", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (only,) = annotations(read(path)).values()
    assert list(only.values()) == [expected]


def test_a_kaldi_folder_is_imported_and_its_commands_are_not_run(tmp_path, clip):
    folder = tmp_path / "data"
    folder.mkdir()
    clip("a.wav")
    clip("b.wav")
    (folder / "wav.scp").write_text(f"u1 {tmp_path}/a.wav\nu2 ../b.wav\n")
    (folder / "text").write_text("u1 hello there\nu2 bye\n")
    (folder / "utt2spk").write_text("u1 s1\nu2 s2\n")
    (folder / "utt2pace").write_text("u1 4\nu2 1\n")
    imported = read(folder)
    assert annotations(imported) == {"u1": {"utt2pace": [4]}, "u2": {"utt2pace": [1]}}
    assert [(r["transcript"], r["character"]) for r in imported.records] == [
        ("hello there", "s1"),
        ("bye", "s2"),
    ]
    (folder / "wav.scp").write_text("u1 touch HACKED |\n")
    with pytest.raises(BadSourceError, match=r"'touch HACKED \|' is a"):
        read(folder)
    assert not list(tmp_path.rglob("HACKED"))


def test_qualtrics_columns_become_rows(tmp_path, clip):
    clip("a.wav")
    clip("b.wav")
    text = (
        "ResponseId,a.wav_pace,a.wav_warmth,b.wav_pace,b.wav_warmth\n"
        "Response ID,How fast?,How warm?,How fast?,How warm?\n"
        '"{""ImportId"":""_recordId""}",x,x,x,x\n'
        "R_1,4,2,,3\n"
        "R_2,5,1,2,\n"
    )
    path = tmp_path / "survey.csv"
    path.write_text(text)
    imported = read(
        path,
        skip_rows=[2, 3],
        unpivot=r"(?P<clip>.+\.wav)_(?P<question>.+)",
        columns={"rater": "ResponseId"},
    )
    assert annotations(imported) == {
        "a": {"pace": [4, 5], "warmth": [2, 1]},
        "b": {"pace": [None, 2], "warmth": [3, None]},
    }
    assert imported.raters == ["R_1", "R_2"]
    first = {
        "ResponseId": "R_1",
        "a.wav_pace": "4",
        "a.wav_warmth": "2",
        "b.wav_pace": "",
        "b.wav_warmth": "3",
    }
    assert source_rows(imported.records)[0] == first
    assert len(source_rows(imported.records)) == 2


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x.parquet", "not readable as Parquet"),
        ("x.xlsx", "not an Excel workbook"),
        ("x.json", "not JSON"),
        ("x.jsonl", "malformed JSON"),
        ("x.tar", "not a tar archive"),
        ("x.odd", "format is not known"),
        ("absent.csv", "no such file"),
    ],
)
def test_files_of_another_kind_are_reported(tmp_path, name, problem):
    path = tmp_path / name
    if name != "absent.csv":
        path.write_bytes(b"nothing {")
    with pytest.raises(BadSourceError, match=problem):
        read(path)
