"""Manifests: every change of a listed file is detected, and complete files are accepted."""

import json
import os

import pytest
from damage import WAYS, damage

from dramaeval.data import manifest
from dramaeval.data.manifest import (
    NAME,
    DamagedFileError,
    begin,
    damage_in,
    damage_of,
    read_sealed,
    require_undamaged,
    seal,
    sealed,
    set_aside,
    write_listed,
)


@pytest.fixture
def folder(tmp_path):
    """A sealed folder with files of several sizes, one of them in a subfolder."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "small.json").write_text('{"a": 1}')
    (tmp_path / "empty").touch()
    (tmp_path / "inner" / "weights").write_bytes(bytes(range(256)) * 9000)  # two blocks and a bit
    (tmp_path / "README.md").write_text("for people")
    seal(tmp_path)
    return tmp_path


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [0, 0.5, 1])
@pytest.mark.parametrize("name", ["small.json", "inner/weights"])
def test_a_damaged_file_is_named_with_its_damage(folder, name, way, at):
    assert damage_in(folder) == []
    damage(folder / name, way, at)
    (line,) = damage_in(folder)
    ending = (
        f"bytes, but {len(bytes(range(256)) * 9000) if 'weights' in name else 8:,} were written"
    )
    assert line.startswith(f"{name} has")
    assert line.endswith(ending if way == "cut off" else "has other bytes than were written")
    with pytest.raises(DamagedFileError, match=f"{folder} is damaged: {name} has"):
        require_undamaged(folder)


def test_missing_files_are_damage_and_additional_files_are_not(folder):
    (folder / "later").write_text("x")
    (folder / "README.md").write_text("changed")
    assert damage_in(folder) == []
    (folder / "empty").unlink()
    damage(folder / "inner" / "weights", "cut off")
    assert len(damage_in(folder)) == 2
    assert "empty is missing" in damage_in(folder)


def test_large_files_can_be_compared_by_size_only(folder):
    damage(folder / "inner" / "weights", "changed")
    assert damage_in(folder, up_to=1000) == []
    assert len(damage_in(folder)) == 1
    damage(folder / "small.json", "changed")
    assert damage_in(folder, up_to=1000) == ["small.json has other bytes than were written"]


def test_a_folder_is_unfinished_until_it_is_sealed(folder):
    begin(folder)
    assert damage_in(folder) == ["it was not written to its end"]
    seal(folder)
    assert damage_in(folder) == []


def test_a_folder_without_a_manifest_is_not_damaged(tmp_path):
    (tmp_path / "model").write_text("x")
    assert damage_in(tmp_path) == []
    assert damage_of(tmp_path / "model") is None


def test_a_change_of_any_byte_of_a_manifest_is_detected(folder):
    file = folder / NAME
    whole, listed = file.read_bytes(), manifest.read_manifest(folder)
    for at in range(len(whole)):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            file.write_bytes(content)
            try:
                assert manifest.read_manifest(folder) == listed  # only white space changed
            except DamagedFileError:
                continue


@pytest.mark.parametrize("kill_at", [1, 2])
def test_a_kill_while_a_file_is_replaced_leaves_a_complete_file(tmp_path, monkeypatch, kill_at):
    """A file is replaced by two renames, one of the manifest and one of the file."""
    file = tmp_path / "metrics.json"
    write_listed(file, "old")
    calls = []
    original = os.replace

    def replace(*names):
        calls.append(names)
        if len(calls) == kill_at:
            raise KeyboardInterrupt
        original(*names)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_listed(file, "the new one")
    monkeypatch.undo()
    assert file.read_text() == "old"
    assert damage_of(file) is None
    write_listed(file, "the new one")
    assert damage_of(file) is None
    # This content is neither the old nor the new one.
    file.write_text("ald")
    assert damage_of(file) == "metrics.json has 3 bytes, but 11 were written"


@pytest.mark.parametrize("way", WAYS)
def test_a_single_file_is_checked_by_the_manifest_beside_it(tmp_path, way):
    file = tmp_path / "predictions.jsonl"
    write_listed(file, "the first\n")
    write_listed(tmp_path / "other", "")
    assert damage_of(file) is None
    damage(file, way)
    assert damage_of(file).startswith("predictions.jsonl has")
    assert damage_of(tmp_path / "other") is None
    # With a damaged manifest, no file is known to be damaged.
    damage(tmp_path / NAME, "cut off")
    assert damage_of(file) is None


def test_files_that_were_set_aside_are_never_overwritten(tmp_path):
    for number in range(3):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "file").write_text(str(number))
        set_aside(tmp_path / "model")
    kept = sorted(one.name for one in tmp_path.iterdir())
    assert kept == ["model.damaged", "model.damaged-2", "model.damaged-3"]
    assert (tmp_path / "model.damaged" / "file").read_text() == "0"


def test_sealed_json_is_checked_by_its_hash_and_read_without_one(tmp_path):
    file = tmp_path / "run.json"
    values = {"number": 3, "overrides": ["a=1.5", "b=ä"]}
    file.write_text(sealed(values), encoding="utf-8")
    assert read_sealed(file, ("number", "overrides")) == values
    with pytest.raises(DamagedFileError, match=r"run\.json is damaged"):
        read_sealed(file, ("number",))
    file.write_text(json.dumps(values))  # of an earlier version
    assert read_sealed(file, ("number", "overrides")) == values


def test_each_process_hashes_its_own_files():
    names = ["rng_state_1.pth", "generation-1-of-2.safetensors", "global_step3/mp_rank_00_model_states.pt",
             "global_step3/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt", "model.safetensors"]  # fmt: skip
    assert [manifest._writer(name, 2) for name in names] == [1, 1, 0, 1, 0]
    # Files of a checkpoint of more processes are divided among the present ones.
    assert manifest._writer("rng_state_5.pth", 2) == 1
