"""The fingerprint of a model depends on its settings and weights, not on its folder or the split into files."""

import json
import re
import shutil

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.config.weights import fingerprint, local_folder, model_identity, weights_folder

TINY = PACKAGE / "models" / "tiny"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(TINY / name, folder / name)
    return folder


def test_a_copy_is_the_same_model_however_its_weights_are_split(model, tmp_path):
    assert fingerprint(model) == fingerprint(TINY) == model_identity(TINY)
    tensors = load_file(model / "model.safetensors")
    names = sorted(tensors)
    shards = tmp_path / "shards"
    shards.mkdir()
    settings = json.loads((model / "config.json").read_text())
    copied_settings = {**settings, "_name_or_path": str(tmp_path), "transformers_version": "0"}
    (shards / "config.json").write_text(json.dumps(copied_settings))
    for number, part in enumerate((names[:5], names[5:])):
        save_file({name: tensors[name] for name in part}, shards / f"{number}.safetensors")
    assert fingerprint(shards) == fingerprint(model)


def test_a_changed_number_in_a_tensor_up_to_1_mib_changes_the_fingerprint(model):
    tensors = load_file(model / "model.safetensors")
    before = fingerprint(model)
    small = [name for name, tensor in tensors.items() if tensor.nbytes <= 2**20]
    for name in (small[0], small[-1]):
        changed = tensors[name].copy()
        changed.reshape(-1)[changed.size // 3] += 1
        save_file({**tensors, name: changed}, model / "model.safetensors")
        assert fingerprint(model) != before, name


@pytest.mark.parametrize("at", [0, 0.5, 1])
def test_the_beginning_middle_and_end_of_a_large_tensor_change_the_fingerprint(tmp_path, at):
    values = np.zeros(2**19, np.float32)
    ids = []
    for added in (0, 1):
        values[min(int(at * values.size), values.size - 1)] += added
        save_file({"weight": values}, tmp_path / "model.safetensors")
        ids.append(fingerprint(tmp_path))
    assert ids[0] != ids[1]


@pytest.mark.parametrize("key", ["dtype", "shape", "settings", "file"])
def test_settings_dtypes_and_shapes_change_the_fingerprint(tmp_path, key):
    save_file({"weight": np.zeros((2, 8), np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"layers": 1}')
    before = fingerprint(tmp_path)
    if key == "dtype":
        save_file({"weight": np.zeros((2, 8), np.int32)}, tmp_path / "model.safetensors")
    elif key == "shape":
        save_file({"weight": np.zeros((8, 2), np.float32)}, tmp_path / "model.safetensors")
    elif key == "settings":
        (tmp_path / "config.json").write_text('{"layers": 2}')
    else:
        (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    assert fingerprint(tmp_path) != before


def test_an_adapter_does_not_depend_on_the_place_of_its_base_or_on_the_order_of_its_layers(
    tmp_path,
):
    ids = []
    for base, layers in (("/a", ["q", "v"]), ("/b", ["v", "q"]), ("/b", ["v", "k"])):
        values = {"base_model_name_or_path": base, "target_modules": layers}
        (tmp_path / "adapter_config.json").write_text(json.dumps(values))
        ids.append(fingerprint(tmp_path))
    assert ids[0] == ids[1] != ids[2]


def test_a_model_on_the_hub_is_identified_by_name_and_revision(tmp_path):
    assert model_identity("org/one") == "org/one"
    assert model_identity("org/one", "v2") == "org/one@v2"
    assert model_identity(tmp_path / "missing") is None


def test_damaged_weights_have_another_fingerprint(model):
    before = fingerprint(model)
    (model / "model.safetensors").write_bytes(b"\xff" * 100)
    assert fingerprint(model) != before


def test_weights_are_found_in_the_folder_or_in_model_or_in_export(tmp_path):
    assert weights_folder(tmp_path) is None
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "config.json").touch()
    assert weights_folder(tmp_path) == tmp_path / "export"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").touch()
    assert weights_folder(tmp_path) == tmp_path / "model"


def test_a_judge_on_the_hub_is_read_from_the_cache(tmp_path, monkeypatch):
    """The cache has the layout that huggingface_hub documents: refs, and a snapshot for each commit."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--org--judge"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (
        local_folder("hf://org/judge") == local_folder(f"hf://org/judge@{commit}") == str(snapshot)
    )
    assert local_folder("org/judge") == "org/judge"
    for missing in ("hf://org/other", "hf://org/judge@v2", "hf://no name"):
        with pytest.raises(ConfigError, match=re.escape(missing)):
            local_folder(missing)
