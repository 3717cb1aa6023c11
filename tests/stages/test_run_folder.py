"""The run folder: never half a file, never two runs in one."""

import json

import pytest
from omegaconf import OmegaConf

from dramaeval.config.problems import ConfigError
from dramaeval.data.atomic_files import write_folder_atomic, write_json_atomic, write_text_atomic
from dramaeval.data.manifest import NAME, read_manifest
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


def test_a_folder_is_complete_or_absent(tmp_path):
    def half(folder):
        (folder / "one").write_text("1")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_folder_atomic(tmp_path / "model", half)
    assert not (tmp_path / "model").exists()
    write_folder_atomic(tmp_path / "model", lambda folder: (folder / "two").write_text("2"))
    assert {one.name for one in (tmp_path / "model").iterdir()} == {"two", NAME}
    assert read_manifest(tmp_path / "model").keys() == {"two"}


def test_another_configuration_is_refused_where_there_is_work(tmp_path):
    folder = RunFolder(tmp_path)
    folder.open(OmegaConf.create({"seed": 1, "plan": False, "task": {"labels": "mean"}}))
    # Nothing was done yet: a mended configuration may start.
    folder.open(OmegaConf.create({"seed": 2, "plan": False, "task": {"labels": "mean"}}))
    (tmp_path / "predictions.zero_shot.jsonl").write_text("")
    folder.open(OmegaConf.create({"seed": 2, "plan": True, "task": {"labels": "mean"}}))
    with pytest.raises(ConfigError, match=r"seed: 2 → 3; task.labels: mean → median"):
        folder.open(OmegaConf.create({"seed": 3, "plan": False, "task": {"labels": "median"}}))
    # What is measured may be measured otherwise, but not what is kept with each prediction.
    folder = RunFolder(tmp_path / "evaluated")
    folder.path.mkdir()
    before = {"seed": 2, "plan": False, "task": {"labels": "mean"}}
    folder.open(OmegaConf.create({**before, "evaluation": {"draws": 10, "group_by": "character"}}))
    (folder.path / "predictions.zero_shot.jsonl").write_text("")
    folder.open(OmegaConf.create({**before, "evaluation": {"draws": 20, "group_by": "character"}}))
    folder.open(OmegaConf.create({**before, "evaluation": {"draws": 30, "group_by": "character"}}))
    with pytest.raises(ConfigError, match=r"evaluation.group_by: character → language"):
        folder.open(OmegaConf.create({**before, "evaluation": {"group_by": "language"}}))


def test_a_run_of_an_earlier_version_continues_with_the_defaults_of_later_settings(tmp_path):
    before = {"seed": 1, "batch": {"eval_clips": 8}}
    folder = RunFolder(tmp_path)
    folder.open(OmegaConf.create(before))
    (tmp_path / "predictions.zero_shot.jsonl").write_text("")
    # batch.shared_prefix came later; its default keeps the behaviour, another value is another configuration.
    folder.open(OmegaConf.create({"seed": 1, "batch": {"eval_clips": 8, "shared_prefix": True}}))
    folder = RunFolder(tmp_path / "other")
    folder.path.mkdir()
    folder.open(OmegaConf.create(before))
    (folder.path / "predictions.zero_shot.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"batch.shared_prefix: True → False"):
        folder.open(
            OmegaConf.create({"seed": 1, "batch": {"eval_clips": 8, "shared_prefix": False}})
        )
