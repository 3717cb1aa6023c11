"""The run folder: files are written completely or not at all, and it holds one configuration."""

import json
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dramaeval.config.problems import ConfigError
from dramaeval.data.atomic_files import write_folder_atomic, write_json_atomic, write_text_atomic
from dramaeval.data.manifest import NAME, read_manifest, write_listed
from dramaeval.importing.extracted_audio import AudioFolder
from dramaeval.stages.run_folder import RunFolder


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path):
    file = tmp_path / "a.json"
    write_text_atomic(file, "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_atomic(file, {"value": float("nan")})
    assert file.read_text() == "old"
    write_json_atomic(file, {"name": "Ä"})
    assert json.loads(file.read_text(encoding="utf-8")) == {"name": "Ä"}
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "write",
    [
        lambda file: write_text_atomic(file, "whole"),
        lambda file: write_listed(file, "whole"),
        lambda file: AudioFolder(file.parent).write(file.name, b"whole"),
    ],
    ids=["text", "listed", "clip"],
)
def test_two_processes_may_write_a_file_at_the_same_time(tmp_path, monkeypatch, write):
    """The second process writes the whole file just before the first one replaces it."""
    file, replace, others = tmp_path / "one.wav", os.replace, [1]

    def replace_later(source, target):
        if others and Path(target) == file:
            others.clear()
            write(file)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_later)
    write(file)
    assert file.read_text() == "whole"
    assert not others
    assert {one.name for one in tmp_path.iterdir()} <= {file.name, NAME}


def test_a_file_that_cannot_be_written_leaves_no_temporary_file(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(tmp_path / "one", "\udc80", verbatim=True)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_complete_or_absent(tmp_path):
    def write_and_fail(folder):
        (folder / "one").write_text("1")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_folder_atomic(tmp_path / "model", write_and_fail)
    assert not (tmp_path / "model").exists()
    write_folder_atomic(tmp_path / "model", lambda folder: (folder / "two").write_text("2"))
    assert {one.name for one in (tmp_path / "model").iterdir()} == {"two", NAME}
    assert read_manifest(tmp_path / "model").keys() == {"two"}


def test_another_configuration_is_refused_in_a_folder_with_results(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(OmegaConf.create({"seed": 1, "plan": False, "task": {"labels": "mean"}}))
    # The folder has no results yet, so another configuration may start.
    folder.open(OmegaConf.create({"seed": 2, "plan": False, "task": {"labels": "mean"}}))
    (tmp_path / "predictions.zero_shot.jsonl").write_text("")
    folder.open(OmegaConf.create({"seed": 2, "plan": True, "task": {"labels": "mean"}}))
    with pytest.raises(ConfigError, match=r"seed: 2 → 3; task.labels: mean → median"):
        folder.open(OmegaConf.create({"seed": 3, "plan": False, "task": {"labels": "median"}}))
    # Settings of the metrics may change, but not a setting that is stored with each prediction.
    folder = RunFolder(tmp_path / "evaluated")
    folder.path.mkdir()
    before = {"seed": 2, "plan": False, "task": {"labels": "mean"}}
    folder.open(OmegaConf.create({**before, "evaluation": {"draws": 10, "group_by": "character"}}))
    (folder.path / "predictions.zero_shot.jsonl").write_text("")
    folder.open(OmegaConf.create({**before, "evaluation": {"draws": 20, "group_by": "character"}}))
    folder.open(OmegaConf.create({**before, "evaluation": {"draws": 30, "group_by": "character"}}))
    with pytest.raises(ConfigError, match=r"evaluation.group_by: character → language"):
        folder.open(OmegaConf.create({**before, "evaluation": {"group_by": "language"}}))


def test_a_run_of_an_earlier_version_continues_with_defaults_of_new_settings(tmp_path):
    before = {"seed": 1, "batch": {"eval_clips": 8}}
    folder = RunFolder(tmp_path)
    folder.open(OmegaConf.create(before))
    (tmp_path / "predictions.zero_shot.jsonl").write_text("")
    # The earlier run did not know batch.shared_prefix: its default value is accepted, another value is refused.
    folder.open(OmegaConf.create({"seed": 1, "batch": {"eval_clips": 8, "shared_prefix": True}}))
    folder = RunFolder(tmp_path / "other")
    folder.path.mkdir()
    folder.open(OmegaConf.create(before))
    (folder.path / "predictions.zero_shot.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"batch.shared_prefix: True → False"):
        folder.open(
            OmegaConf.create({"seed": 1, "batch": {"eval_clips": 8, "shared_prefix": False}})
        )
