"""Sources in other formats than JSONL, given directly: task.data.train=ratings.csv, input=FOLDER."""

import csv
import io
import json
import logging
import shutil
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.data.raters import UNKNOWN_RATERS
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.importing.problems import BadSourceError
from dramaeval.stages import converted_sources
from dramaeval.stages.builders import build_task
from dramaeval.stages.converted_sources import conversions_folder, jsonl_of
from dramaeval.stages.read_splits import read_splits
from dramaeval.tasks.settings import missing_files

SAMPLE = PACKAGE / "data" / "sample" / "realism"
FIELDS = ("rhythmic_naturalness", "emotion_accuracy")
CONTEXT = ("char_age", "char_style", "char_profile", "local_scene")


def sample_records(count=4):
    lines = (SAMPLE / "train.jsonl").read_text("utf-8").splitlines()[:count]
    return [json.loads(line) for line in lines]


def long_rows(records, **more_columns):
    """One row for each clip, rater and question."""
    return [
        {
            "clip": record["wav_path"],
            **{key: record.get(key, "") for key in ("character", "transcript", *CONTEXT)},
            "rater": f"r{rater}",
            "question": question,
            "score": score,
            **more_columns,
        }
        for record in records
        for question in FIELDS
        for rater, score in enumerate(record["annotations"][question])
    ]


def write_csv(file, rows):
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


@pytest.fixture
def folder(tmp_path):
    """A folder with the clips of four records."""
    for record in sample_records():
        target = tmp_path / record["wav_path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / record["wav_path"], target)
    return tmp_path


@pytest.fixture(scope="module")
def base():
    """Composed once, because composing takes longer than the tests."""
    return compose(f"task.dimensions=[{','.join(FIELDS)}]", "stages=[prepare]")


@pytest.fixture
def read(base, tmp_path):
    def run(task=None, processes=SINGLE_PROCESS, **values):
        config = base.copy()
        values = {"cache.folder": str(tmp_path / "cache"), **values}
        for key, value in values.items():
            OmegaConf.update(config, key.replace("__", "."), value)
        if problems := missing_files(config) + converted_sources.check(config):
            raise ConfigError(problems)
        conversions = conversions_folder(config, tmp_path / "run")
        task = task or build_task(config)
        return read_splits(config, task, conversions=conversions, processes=processes)

    return run


def ratings_of(records):
    return {record.clip.name: {key: record.ratings[key] for key in FIELDS} for record in records}


def expected(records):
    return {
        record["wav_path"].rpartition("/")[2]: {
            key: tuple(record["annotations"][key]) for key in FIELDS
        }
        for record in records
    }


def test_a_csv_and_a_parquet_table_are_read_as_records(read, folder, caplog):
    caplog.set_level(logging.INFO)
    records = sample_records()
    train = write_csv(folder / "ratings.csv", long_rows(records))
    parquet = folder / "val.parquet"
    pq.write_table(pa.Table.from_pylist(long_rows(records[:2])), parquet)
    splits = read(task__data__train=str(train), task__data__val=str(parquet))
    assert ratings_of(splits["train"]) == expected(records)
    assert ratings_of(splits["val"]) == expected(records[:2])
    first = splits["train"][0]
    assert first.fields["char_style"] == records[0]["char_style"]
    assert first.fields["raters"] == [f"r{rater}" for rater in range(6)]
    assert "clip: clip (guessed)" in caplog.text
    assert "ratings.csv, read as:" in caplog.text
    assert "is the range of its ratings" not in caplog.text  # the rubric has the scale


def test_raters_are_unknown_if_no_column_names_them(read, folder):
    """Otherwise the position of a rating would count as a rater, and reports would show a wrong human ceiling."""
    rows = [{k: v for k, v in row.items() if k != "rater"} for row in long_rows(sample_records(2))]
    splits = read(task__data__train=str(write_csv(folder / "ratings.csv", rows)))
    assert {info for record in splits["train"] for info in record.raters.values()} == {
        UNKNOWN_RATERS
    }


def test_a_source_is_converted_once_and_again_after_a_change(read, folder, monkeypatch):
    calls = []
    from dramaeval.importing import direct

    original = direct.read_import
    monkeypatch.setattr(
        direct, "read_import", lambda *a, **k: (calls.append(a), original(*a, **k))[1]
    )
    rows = long_rows(sample_records())
    table = write_csv(folder / "ratings.csv", rows)
    first = read(task__data__train=str(table))["train"]
    again = read(task__data__train=str(table), task__data__test=str(table))
    assert again["train"] == first
    assert len(calls) == 1
    rows[0]["score"] = 6 - rows[0]["score"]
    write_csv(table, rows)
    changed = read(task__data__train=str(table))["train"]
    assert len(calls) == 2
    assert changed[0].file == first[0].file  # its hash in the fingerprint differs
    assert changed[0].ratings[FIELDS[0]][0] == rows[0]["score"]
    changed[0].file.write_text("")  # damaged
    assert read(task__data__train=str(table))["train"] == changed
    assert len(calls) == 3


def test_each_split_of_a_source_has_only_its_own_records(read, folder):
    parts = zip(sample_records(), ("training", "dev", "studio", "test"), strict=True)
    rows = [row for record, split in parts for row in long_rows([record], split=split)]
    table = write_csv(folder / "all.csv", rows)
    splits = read(
        task__data__train=str(table),
        task__data__val=str(table),
        task__data__test={"studio": str(table), "wild": str(table)},
    )
    ids = {
        name: [record.clip.name for record in records] for name, records in splits.records.items()
    }
    names = [record["wav_path"].rpartition("/")[2] for record in sample_records()]
    # The set wild has the split test, because the source has no split of its name.
    assert ids == {
        "train": names[:1], "val": names[1:2], "test_studio": names[2:3], "test_wild": names[3:],
    }  # fmt: skip
    only = write_csv(folder / "only.csv", rows[:4])
    with pytest.raises(BadSourceError) as error:
        read(task__data__train=str(table), task__data__test=str(only))
    (found,) = error.value.problems
    assert found.problem.startswith("no record is of the split test; there are train")


def test_problems_of_all_sources_are_in_one_table(read, folder):
    first, second = long_rows(sample_records(2)), long_rows(sample_records(2))
    first[1]["score"], second[0]["clip"] = "1,5", "absent.wav"
    a = write_csv(folder / "a.csv", first)
    b = write_csv(folder / "b.csv", second)
    with pytest.raises(BadSourceError) as error:
        read(task__data__train=str(a), task__data__val=str(b))
    found = {(p.file.name, p.line, p.key) for p in error.value.problems}
    assert {("a.csv", 3, "score"), ("b.csv", 2, "clip")} <= found
    assert "row" in str(error.value)


def test_problems_of_the_records_name_the_rows_of_the_source(read, folder):
    rows = long_rows(sample_records(2))
    rows[-1]["score"] = 9
    table = write_csv(folder / "a.csv", rows)
    with pytest.raises(BadSourceError) as error:
        read(task__data__train=str(table), task__data__val=str(SAMPLE / "val.jsonl"))
    (problem,) = error.value.problems
    first_row = 2 + next(n for n, row in enumerate(rows) if row["clip"] == rows[-1]["clip"])
    assert (problem.file, problem.line, problem.key) == (table, first_row, FIELDS[1])


def test_bad_clips_are_skipped_and_counted(read, folder):
    rows = long_rows(sample_records())
    rows[0]["score"] = "good"
    table = write_csv(folder / "a.csv", rows)
    for _ in range(2):  # the second time, the converted file is read
        splits = read(task__data__train=str(table), task__data__on_bad="skip")
        assert len(splits["train"]) == 3
        assert splits.skipped_summary()["train"]["records"] == 1


def test_a_skipped_clip_is_read_once_it_is_there(read, folder):
    records = sample_records()
    table = write_csv(folder / "a.csv", long_rows(records))
    clip = folder / records[0]["wav_path"]
    content = clip.read_bytes()
    clip.unlink()
    settings = {"task__data__train": str(table), "task__data__on_bad": "skip"}
    assert ratings_of(read(**settings)["train"]) == expected(records[1:])
    clip.write_bytes(content)
    splits = read(**settings)
    assert ratings_of(splits["train"]) == expected(records)
    assert not splits.skipped_summary().get("train")


def test_settings_of_the_importer_replace_the_guessed_format_and_columns(read, folder):
    rows = [
        {"x": row.pop("clip"), "y": row.pop("score"), **row} for row in long_rows(sample_records())
    ]
    table = write_csv(folder / "a.txt", rows)
    splits = read(
        task__data__train=str(table), importer__format="csv", importer__columns={"clip": "x", "score": "y"},
    )  # fmt: skip
    assert ratings_of(splits["train"]) == expected(sample_records())
    with pytest.raises(ConfigError, match="leave importer out"):
        read(task__data__train=str(SAMPLE / "train.jsonl"), importer__format="csv")


def test_input_may_be_a_folder_of_audio_or_a_table_without_ratings(read, folder):
    clips = sorted(path for path in folder.rglob("*") if path.suffix == ".mp3")
    task = build_task(compose("task=speech"))
    records = read(task, stages=["score"], input=str(folder))["input"]
    assert [record.clip for record in records] == clips
    table = write_csv(folder / "clips.csv", [{"file": str(clip), "level": 77} for clip in clips])
    records = read(task, stages=["score"], input=str(table))["input"]
    assert [record.clip for record in records] == clips


def test_audio_of_an_archive_is_extracted_into_the_cache(read, folder, tmp_path):
    record = sample_records(1)[0]
    archive = tmp_path / "shard.tar"
    content = (SAMPLE / record["wav_path"]).read_bytes()
    values = {key: record[key] for key in ("character", "transcript", *CONTEXT)}
    values |= {f"{key}_rater1": record["annotations"][key][0] for key in FIELDS}
    with tarfile.open(archive, "w") as tar:
        for name, data in (
            ("a.mp3", content),
            ("a.json", json.dumps(values).encode()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (only,) = read(task__data__train=str(archive))["train"]
    assert only.clip.read_bytes() == content
    assert (tmp_path / "cache" / "imported") in only.clip.parents
    only.clip.unlink()
    (again,) = read(task__data__train=str(archive))["train"]
    assert again.clip.read_bytes() == content


def test_a_folder_without_audio_is_refused_before_reading(read, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is a folder of no known kind"):
        read(task__data__train=str(tmp_path / "empty"))


def test_every_rank_reaches_the_barrier_even_if_the_conversion_fails(read, folder, monkeypatch):
    rows = long_rows(sample_records(1))
    rows[0]["score"] = "good"
    table = write_csv(folder / "a.csv", rows)
    for rank in (0, 1):
        waits = []
        monkeypatch.setattr(Processes, "barrier", lambda self, waits=waits: waits.append(self.rank))
        with pytest.raises(BadSourceError):
            read(task__data__train=str(table), processes=Processes(rank, 2))
        assert waits == [rank]


def test_few_shot_examples_are_read_from_a_table(base, folder):
    table = write_csv(folder / "a.csv", long_rows(sample_records(1)))
    config = base.copy()
    config.cache.folder = str(folder / "cache")
    (line,) = jsonl_of(config, "train", str(table)).read_text("utf-8").splitlines()
    annotations = json.loads(line)["annotations"]
    assert annotations == {key: sample_records(1)[0]["annotations"][key] for key in FIELDS}
    assert jsonl_of(config, "train", "x.jsonl").name == "x.jsonl"
