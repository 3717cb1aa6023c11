"""A folder of Parquet files or of WebDataset archives, such as a local copy of a data set's repository on the Hugging Face hub."""

import io
import tarfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.import_formats import folder_format, is_source
from dramaeval.importing.direct import convert, settings_for
from dramaeval.importing.importer import read_import
from dramaeval.importing.problems import BadSourceError
from dramaeval.importing.sharded_folder import shards_with_splits


@pytest.fixture
def parquet(tmp_path, clip):
    """A function that writes a Parquet file of one rated clip; the clip has the same name in every file."""

    def write(name, score, recording):
        path = tmp_path / "repo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = (tmp_path / clip(recording)).read_bytes()
        cells = {"audio": [{"bytes": content, "path": "audio.wav"}], "pace": [score]}
        pq.write_table(pa.table(cells), path)
        return content

    return write


def read(folder, **settings):
    return read_import(ImporterConfig(file=str(folder), **settings), folder.parent / "out")


def rows(imported):
    return [
        (record["source"][0]["file"], record["annotations"]["pace"], split)
        for record, split in zip(imported.records, imported.splits, strict=True)
    ]


def test_a_repository_is_one_table_with_the_splits_of_its_file_names(tmp_path, parquet):
    contents = [
        parquet("data/test-00000-of-00001.parquet", 1, "a.wav"),
        parquet("data/train-00000-of-00002.parquet", 2, "b.wav"),
        parquet("data/train-00001-of-00002.parquet", 3, "c.wav"),
        parquet("data/validation-00000-of-00001.parquet", 4, "d.wav"),
    ]
    parquet(".cache/huggingface/train-old.parquet", 5, "e.wav")
    (tmp_path / "repo" / "README.md").write_text("# A data set\n")
    assert folder_format(tmp_path / "repo") == "parquet"
    imported = read(tmp_path / "repo")
    assert rows(imported) == [
        ("data/test-00000-of-00001.parquet", [1], "test"),
        ("data/train-00000-of-00002.parquet", [2], "train"),
        ("data/train-00001-of-00002.parquet", [3], "train"),
        ("data/validation-00000-of-00001.parquet", [4], "val"),
    ]
    # Each record has its own audio, although all clips have one name.
    clips = [Path(record["wav_path"]).read_bytes() for record in imported.records]
    assert clips == contents
    assert imported.notices[0] == (
        "4 Parquet files read as one table in the order of their names; splits by their names: test (1 file), "
        "train (2 files), val (1 file)."
    )
    assert read(tmp_path / "repo", columns={"split": "none"}).splits == [None] * 4


def test_each_split_of_a_converted_folder_has_its_own_records(tmp_path, parquet):
    parquet("train/0000.parquet", 2, "a.wav")
    parquet("test/0000.parquet", 5, "b.wav")
    folder = str(tmp_path / "repo")
    assert is_source(folder, None)
    settings = settings_for(folder, ImporterConfig(), audio_root=None, skips=False, rated=True)
    converted = convert(settings, tmp_path / "cache")
    assert '"pace": [2]' in converted.file_of("train").read_text()
    assert '"pace": [5]' in converted.file_of("test").read_text()
    with pytest.raises(BadSourceError) as error:
        converted.file_of("val")
    problem = "no record is of the split val; there are test, train"
    assert [each.problem for each in error.value.problems] == [problem]


def test_file_names_without_a_split_give_none_and_names_of_two_splits_are_refused(
    tmp_path, parquet
):
    parquet("part-0.parquet", 2, "a.wav")
    parquet("part-1.parquet", 5, "b.wav")
    imported = read(tmp_path / "repo")
    assert rows(imported) == [("part-0.parquet", [2], None), ("part-1.parquet", [5], None)]
    assert imported.notices[0].endswith("no name tells a split.")
    parquet("train_and_test.parquet", 1, "c.wav")
    with pytest.raises(BadSourceError) as error:
        read(tmp_path / "repo")
    assert [each.problem for each in error.value.problems] == [
        "the name has the words of two splits"
    ]
    files = {"train": "part-*.parquet", "test": "train_and_test.parquet"}
    assert read(tmp_path / "repo", files=files).splits == ["train", "train", "test"]


def test_parquet_in_a_folder_of_audio_is_read_only_with_format_parquet(tmp_path, clip):
    clip("repo/a.wav")
    path = tmp_path / "repo" / "ratings.parquet"
    pq.write_table(pa.table({"clip": ["a.wav"], "pace": [4]}), path)
    assert folder_format(tmp_path / "repo") == "audio_folder"
    plain = read(tmp_path / "repo", dimensions=[])
    assert plain.records[0]["annotations"] == {}
    assert any("1 Parquet file beside the audio not read" in text for text in plain.notices)
    settings_with_format = ImporterConfig(format="parquet")
    settings = settings_for(
        str(tmp_path / "repo"), settings_with_format, audio_root=None, skips=False, rated=True
    )
    assert '"pace": [4]' in convert(settings, tmp_path / "cache").file_of("train").read_text()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadSourceError, match="no Parquet file"):
        read(tmp_path / "empty", format="parquet")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/dev-00000-of-00001.parquet", "val"),
        ("en/train.clean.100/0000.parquet", "train"),
        ("evaluation/x.parquet", "test"),
        (
            "train/test-0.parquet",
            "test",
        ),  # the name of the file has priority over that of the folder
        ("contest/latest.parquet", None),  # whole words only
        ("X.PARQUET", None),
    ],
)
def test_the_split_follows_from_the_words_of_a_path(tmp_path, name, split):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert shards_with_splits(tmp_path, "parquet") == [(split, path)]


def test_a_folder_of_tar_archives_is_one_table_too(tmp_path, clip):
    folder = tmp_path / "repo"
    folder.mkdir()
    contents = {}
    for name, recording, score in (
        ("train-0", "a.wav", 2),
        ("train-1", "b.wav", 3),
        ("val-0", "c.wav", 5),
    ):
        contents[name] = (tmp_path / clip(recording)).read_bytes()
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for ending, content in (("wav", contents[name]), ("json", b'{"pace": %d}' % score)):
                member = tarfile.TarInfo(f"000000.{ending}")  # each archive counts from 0
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    assert folder_format(folder) == "webdataset"
    assert is_source(folder, None)
    imported = read(folder)
    assert rows(imported) == [
        ("train-0.tar", [2], "train"), ("train-1.tar", [3], "train"), ("val-0.tar", [5], "val")
    ]  # fmt: skip
    clips = [Path(record["wav_path"]).read_bytes() for record in imported.records]
    assert clips == list(contents.values())
    assert imported.notices[0].startswith("3 tar files read as one table")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadSourceError, match="no tar file"):
        read(tmp_path / "empty", format="webdataset")


def test_class_labels_that_datasets_writes_into_parquet_are_names(tmp_path, clip):
    features = datasets.Features(
        {"clip": datasets.Value("string"), "pace": datasets.ClassLabel(names=["2", "4"])}
    )
    part = datasets.Dataset.from_dict({"clip": [clip("a.wav")], "pace": [1]}, features=features)
    path = tmp_path / "x.parquet"
    part.to_parquet(path)
    (record,) = read(path).records
    assert record["annotations"] == {"pace": [4]}
    table = pq.read_table(path).replace_schema_metadata({"huggingface": '{"info": 1}'})
    pq.write_table(table, path)
    imported = read(path)
    assert imported.records[0]["annotations"] == {"pace": [1]}
    assert "class labels stay numbers" in imported.notices[0]
