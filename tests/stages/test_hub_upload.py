"""Publishing a judge on the hub, with the hub's own client and a server on this machine."""

import json
import logging
import shutil

import numpy as np
import pytest
import yaml
from fake_hub import TOKEN, fake_hub
from huggingface_hub import constants
from safetensors.numpy import save_file

from dramaeval.config.inheritance import inherit
from dramaeval.config.judge_file import judge_text
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.models.checkpoint import find_checkpoint
from dramaeval.models.errors import ModelError
from dramaeval.stages import hub_files
from dramaeval.stages.hub_upload import publish
from dramaeval.stages.run_folder import saved_form

TINY = PACKAGE / "models" / "tiny"
CARD = "---\nlicense: cc-by-4.0\n---\n# A judge of acted speech\nSee https://example.org/a/b/c.\n"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with fake_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def export(composed, tmp_path):
    """An exported full judge with its own rubric, beside files that must not be published."""
    folder = tmp_path / "run" / "export"
    folder.mkdir(parents=True)
    for file in TINY.iterdir():
        shutil.copyfile(file, folder / file.name)
    save_file({"weight": np.arange(9.0)}, folder / "model.safetensors")
    config = composed(
        "task.dimensions=[rhythmic_naturalness]", f"task.data.train={tmp_path}/t.jsonl"
    )
    text = judge_text(saved_form(config), base=str(folder), front_end=1, raters=["ann@example.org"])
    assert str(tmp_path) in text
    (folder / "judge.yaml").write_text(text)
    (folder / "README.md").write_text(CARD)
    for name in ("fingerprint.records.jsonl", "train.jsonl", "data.json", "optimizer.pt", "a.wav"):
        (folder / name).write_text("secret ratings")
    metrics = {
        "val": {"final": {"macro": {"pearson": 0.5}, "dimensions": {}, "worst": ["clip-17"]}},
        "slices": {"val": {"system": {"speaker-9": {}}}},
        "about": {"rubric": {"name": "realism", "version": 1}, "overlaps": ["clip-17 is in train"]},
    }
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def publish_with(composed, tmp_path):
    def run(*overrides):
        config = composed("export.push_to_hub=alice/judge", *overrides)
        folder = tmp_path / "run"
        publish(config, folder, folder / "export", folder / "metrics.json")

    return run


def test_a_published_judge_is_loaded_by_its_name(
    hub, export, publish_with, composed, monkeypatch, tmp_path
):
    publish_with()
    repository = hub.repositories["alice/judge"]
    assert repository["private"]
    assert hub.messages == ["Upload a judge of dramaeval"]
    monkeypatch.chdir(tmp_path)
    config = inherit(composed("checkpoint=alice/judge", "stages=[score]", "input=demo"))
    assert list(config.task.dimensions) == ["rhythmic_naturalness"]
    loaded = find_checkpoint(config.checkpoint)
    assert loaded.folder.is_relative_to(tmp_path / "cache")
    assert config.model.path == str(loaded.folder)
    weights = "model.safetensors"
    assert (loaded.folder / weights).read_bytes() == (export / weights).read_bytes()


def test_published_files_have_no_records_paths_or_secrets(hub, export, publish_with, tmp_path):
    publish_with()
    files = hub.repositories["alice/judge"]["files"]
    judge_files = {file.name for file in TINY.iterdir()} - {"MODELCARD.md"}
    assert set(files) == judge_files | {
        "README.md", "judge.yaml", "rubric.yaml", "metrics.json", "dramaeval_manifest.json",
    }  # fmt: skip
    everything = b"".join(files.values())
    for secret in (
        str(tmp_path),
        "secret ratings",
        "clip-17",
        "speaker-9",
        "ann@example.org",
        TOKEN,
    ):
        assert secret.encode() not in everything, secret
    assert yaml.safe_load(files["rubric.yaml"])["name"] == "realism"
    assert json.loads(files["metrics.json"])["val"] == {
        "final": {"macro": {"pearson": 0.5}, "dimensions": {}}
    }
    assert b"license: cc-by-4.0" in files["README.md"]


def test_a_dry_run_lists_the_files_and_sends_nothing(hub, export, publish_with, caplog):
    caplog.set_level(logging.INFO)
    publish_with("export.dry_run=true")
    assert hub.repositories == {}
    assert "would be published as alice/judge (private)" in caplog.text
    assert "  judge.yaml, " in caplog.text
    assert "train.jsonl" in caplog.text.partition("Left out:")[2]


def test_a_public_repository_needs_export_private_false(hub, export, publish_with):
    hub.repositories["alice/judge"] = {"private": False, "files": {}}
    with pytest.raises(ModelError, match="exists and is public"):
        publish_with()
    assert hub.repositories["alice/judge"]["files"] == {}
    publish_with("export.private=false")
    assert hub.repositories["alice/judge"]["files"]


def test_a_wrong_token_is_an_error_that_names_the_login_command(
    hub, export, publish_with, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "y" * 30)
    with pytest.raises(ModelError, match="Log in with `hf auth login`"):
        publish_with()


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("README.md", "Trained on /data/corpora/scenes/train.jsonl.", "holds a path of this machine"),
        ("config.json", '{"audio": "/data/encoder/x"}', "holds a path of this machine"),
        ("config.json", '{"audio": ["~/models/x"]}', "holds a path of this machine"),
        ("tokenizer_config.json", '{"note": "hf_%s"}' % ("a1" * 15), "looks like a secret"),
    ],
)  # fmt: skip
def test_a_file_with_a_local_path_or_a_secret_stops_the_upload(
    export, publish_with, name, text, problem
):
    (export / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name} .*{problem}|{name} holds what {problem}"):
        publish_with("export.dry_run=true")


@pytest.mark.parametrize(
    ("base", "published"),
    [("/models/qwen", None), ("Qwen/Qwen2-Audio-7B", "Qwen/Qwen2-Audio-7B"),
     ("package:models/tiny", "package:models/tiny")],
)  # fmt: skip
def test_a_published_adapter_names_a_base_model_that_others_can_load(
    export, tmp_path, base, published
):
    (export / "config.json").unlink()
    (export / "adapter_config.json").write_text('{"base_model_name_or_path": "/cache/snapshot"}')
    judge = yaml.safe_load((export / "judge.yaml").read_text())
    judge["model"]["path"] = base
    (export / "judge.yaml").write_text(yaml.safe_dump(judge))
    target = tmp_path / "target"
    target.mkdir()
    if published is None:
        with pytest.raises(ConfigError, match="base of the adapter is a folder of this machine"):
            hub_files.fill(target, export, None, "alice/judge")
        return
    hub_files.fill(target, export, None, "alice/judge")
    adapter = json.loads((target / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == published


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["export.push_to_hub=alice/judge"], "add export to stages"),
        (["stages=[export]", "checkpoint=.", "export.push_to_hub=judge"], "give it as owner/name"),
        (["stages=[export]", "checkpoint=.", "export.dry_run=true"], "export.dry_run=true lists"),
    ],
)
def test_invalid_settings_of_the_upload_are_refused(problems_of, settings, problem):
    assert any(problem in each for each in problems_of(*settings))


def test_a_missing_folder_below_an_existing_one_is_not_looked_up_on_the_hub(
    hub, composed, monkeypatch, tmp_path
):
    (tmp_path / "outputs").mkdir()
    monkeypatch.chdir(tmp_path)
    assert inherit(composed("checkpoint=outputs/run")).checkpoint == "outputs/run"
    with pytest.raises(ConfigError, match="hf://bob/judge cannot be downloaded"):
        inherit(composed("checkpoint=bob/judge"))
