"""The clips of ``input=…`` (files, folders, globs, lists, standard input) and the texts that all of them share."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from omegaconf import OmegaConf

from dramaeval.config.composition import compose
from dramaeval.config.problems import ConfigError
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages import score_input
from dramaeval.stages.builders import build_task
from dramaeval.stages.read_splits import read_splits
from dramaeval.stages.score import check

TEXTS = {"scene": "A quay.", "profile": "A sailor.", "age": "Adult", "style": "Calm", "transcript": "Ahoy."}  # fmt: skip
KEYS = {
    "scene": "local_scene", "profile": "char_profile", "age": "char_age", "style": "char_style",
    "transcript": "transcript",
}  # fmt: skip


@pytest.fixture(scope="module")
def base():
    return compose("task=role", "stages=[score]")


@pytest.fixture(scope="module")
def task(base):
    return build_task(base)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with five clips."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "take2.flac", "take1.flac", "more/deep/b.wav", "more/c.ogg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, 0.1 * np.sin(np.arange(8000) / 9), 16_000)
    return tmp_path


@pytest.fixture
def read(base, task, tmp_path):
    def run(given, texts=None, stdin=False):
        config = base.copy()
        OmegaConf.update(config, "input", given)
        OmegaConf.update(config, "texts", TEXTS if texts is None else texts)
        if stdin:
            config = score_input.with_saved_stdin(config, tmp_path / "saved")
        if problems := check(config):
            raise ConfigError(problems)
        return read_splits(config, task, conversions=tmp_path / "imported")["input"]

    return run


def test_files_folders_and_globs_become_records_with_the_path_as_id(read, folder):
    records = read(["a.wav", "more", "take*.flac", str(folder / "a.wav")])
    assert {record.id: record.clip for record in records} == {
        name: folder / name
        for name in ("a.wav", "more/c.ogg", "more/deep/b.wav", "take1.flac", "take2.flac")
    }
    for record in records:
        assert {key: record.fields[key] for key in KEYS.values()} == {
            KEYS[name]: text for name, text in TEXTS.items()
        }
        assert record.seconds == pytest.approx(0.5)


def test_a_list_in_a_text_file_and_standard_input_are_read_alike(read, folder, monkeypatch):
    content = "take2.flac\n\n  more/c.ogg \na.wav\n"
    (folder / "list.txt").write_text(content)
    expected = ["take2.flac", "more/c.ogg", "a.wav"]
    assert [record.id for record in read("list.txt")] == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert [record.id for record in read("-", stdin=True)] == expected
    lines = [{"id": "x", "wav_path": "a.wav", "local_scene": "Rain."}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    (record,) = read(["-"], stdin=True)
    assert (record.id, record.fields["local_scene"]) == ("x", "Rain.")
    assert record.fields["char_profile"] == TEXTS["profile"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" \n")))
    with pytest.raises(ConfigError, match="standard input is empty"):
        read("-", stdin=True)


def test_tables_and_clips_are_joined_and_a_repeated_id_is_refused(read, folder):
    (folder / "t.csv").write_text("id,file,local_scene\nx,take1.flac,Snow.\n")
    (folder / "r.jsonl").write_text(json.dumps({"id": "y", "wav_path": "take2.flac"}) + "\n")
    records = read(["t.csv", "r.jsonl", "a.wav"])
    assert {record.id: record.fields["local_scene"] for record in records} == {
        "x": "Snow.", "y": TEXTS["scene"], "a.wav": TEXTS["scene"],
    }  # fmt: skip
    (folder / "r2.jsonl").write_text(json.dumps({"id": "y", "wav_path": "a.wav"}) + "\n")
    with pytest.raises(BadRecordsError, match=r"already used in r\.jsonl"):
        read(["r.jsonl", "r2.jsonl"])


def test_missing_texts_are_named_in_a_command_with_all_texts(read, folder):
    some = {name: text for name, text in TEXTS.items() if name in ("scene", "age")}
    with pytest.raises(ConfigError) as error:
        read(["a.wav"], some)
    (problem,) = error.value.problems
    assert set(re.search(r"also reads (.*), which", problem)[1].split(", ")) == TEXTS.keys() - some
    (example,) = [line.strip() for line in problem.splitlines() if "launch.py score" in line]
    words = {word.partition("=")[0]: word.partition("=")[2] for word in shlex.split(example)}
    command = dict.fromkeys(("python", "launch.py", "score", "RUN", "a.wav"), "")
    assert words == command | {name: some.get(name, "…") for name in TEXTS}
    (folder / "r.jsonl").write_text(json.dumps({"id": "y", "wav_path": "a.wav"}) + "\n")
    with pytest.raises(BadRecordsError, match=r"texts\.profile=…"):
        read("r.jsonl", some)


@pytest.mark.parametrize(
    ("given", "texts", "message"),
    [
        ("none.wav", {}, "none.wav does not exist"),
        ("no*.wav", {}, "matches no file"),
        ([], {}, "needs input="),
        (7, {}, "must be a path"),
        ("-", {}, "sweep"),
        ("empty", {}, "folder without audio"),
        ("a.wav", {"scene": " "}, "must be text"),
        ("a.wav", {"age": 7}, "must be text"),
        ("a.wav", {**TEXTS, "sceen": "x"}, r"sceen is neither .* Did you mean scene"),
    ],
)
def test_inputs_that_cannot_be_scored_are_refused(read, folder, given, texts, message):
    (folder / "empty").mkdir()
    with pytest.raises(ConfigError, match=message):
        read(given, texts)


def test_the_demo_is_a_clip_of_the_sample_with_its_own_texts(read, folder, task):
    (record,) = read("demo", {})
    assert record.clip.is_file()
    assert all(record.text(key) for key in task.text_fields)
    assert not any(record.ratings.values())
    archetype = compose("task=archetype", "stages=[score]", "input=demo")
    splits = read_splits(archetype, build_task(archetype), conversions=folder / "imported")
    assert splits["input"][0].text("question")


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ("clips.jsonl", "clips.jsonl"),
        ("clips.csv", "clips.csv"),
        ("clips.parquet", "./more/../clips.parquet"),
        (["a.wav", "cl*.jsonl"], "link.jsonl"),
        ("link.jsonl", "clips.jsonl"),
        ("a.wav", "examples.jsonl"),
    ],
)
def test_an_output_that_would_replace_records_of_the_run_is_refused(base, folder, given, output):
    """An output of an earlier start may be replaced, and so may every other file."""
    config = base.copy()
    for name in ("clips.jsonl", "clips.csv", "clips.parquet", "examples.jsonl", "scores.csv"):
        Path(name).touch()
    Path("link.jsonl").symlink_to("clips.jsonl")
    OmegaConf.update(config, "input", given)
    OmegaConf.update(config, "task.data.train", "examples.jsonl")
    for name, refused in ((output, True), ("scores.csv", False), ("new.csv", False)):
        OmegaConf.update(config, "output", name)
        assert any(f"output={name} would replace" in text for text in check(config)) == refused


@pytest.mark.parametrize(
    ("output", "message"), [("a.xlsx", "must end with"), ("none/a.csv", "does not exist")]
)
def test_an_output_that_cannot_be_written_is_refused_before_scoring(base, folder, output, message):
    config = base.copy()
    OmegaConf.update(config, "input", "a.wav")
    OmegaConf.update(config, "output", output)
    assert [message in problem for problem in check(config)] == [True]
    OmegaConf.update(config, "stages", ["evaluate"])
    assert any("output=… is read by" in problem for problem in check(config))
