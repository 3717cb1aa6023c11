"""The files that a run writes have the permissions that the umask gives."""

import os
import stat

import pytest
import torch
from contracts import contract
from safetensors.torch import save_file

from dramaeval.compat.safetensors import new_weights_follow_umask
from dramaeval.distributed.processes import SINGLE_PROCESS
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.export import export
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer, save
from dramaeval.training.grpo.saved_generation import Generation


@pytest.fixture(params=[0o027, 0o002, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    """The permissions of each file and folder below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): oct(stat.S_IMODE(path.lstat().st_mode))
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("umask", [0o027], indirect=True)
def test_safetensors_writes_private_files(umask, tmp_path):
    file = tmp_path / "model.safetensors"
    with contract(new_weights_follow_umask):
        save_file({"weight": torch.ones(1)}, file)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o027], indirect=True)
@pytest.mark.parametrize("peft", ["lora", "adalora", "none"])
def test_checkpoints_and_models_follow_the_umask(
    composed, make_clips, tmp_path, umask, peft, small_judge
):
    config = composed(
        small_judge,
        f"task.data.train={make_clips('train', 2, seconds=(1.0,))}",
        "stages=[train]",
        "task.dimensions=[pitch_dynamics]",
        "batch.global=2",
        "trainer.args.max_steps=4",
        f"peft={peft}",
    )
    check(config)
    run = RunContext(config, RunFolder(tmp_path / "run"))
    trainer = make_trainer(run)
    trainer.train()
    save(trainer, run.folder.model)
    written = modes(run.folder.path)
    assert any("checkpoint-4/" in name and name.endswith("model.safetensors") for name in written)
    assert {mode for name, mode in written.items() if name.endswith(".safetensors")} == {"0o640"}
    assert set(written.values()) == {"0o640", "0o750"}


def test_a_saved_generation_follows_the_umask(tmp_path, umask):
    Generation(steps=1, iterations=1).save(tmp_path, SINGLE_PROCESS)
    assert set(modes(tmp_path).values()) == {oct(0o666 & ~umask)}


def test_an_export_of_private_files_follows_the_umask(composed, tmp_path, umask):
    from dramaeval.models.checkpoint import Checkpoint

    source, folder = tmp_path / "source", tmp_path / "export"
    (source / "below").mkdir(parents=True)
    for name in ("adapter_model.safetensors", "below/adapter_model.safetensors"):
        save_file({"weight": torch.ones(1)}, source / name)
    (source / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    for path in (source, *source.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    export(Checkpoint(source, adapter=True), folder)
    copied = modes(tmp_path / "export")
    assert {"adapter_model.safetensors", "below/adapter_model.safetensors"} <= copied.keys()
    assert set(copied.values()) == {oct(0o666 & ~umask), oct(0o777 & ~umask)}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask


def test_existing_files_keep_their_permissions(tmp_path, umask):
    """The folder that a user gives to `trainer.save_model` may contain other files."""
    (tmp_path / "named").mkdir()
    for name in ("own.safetensors", "model.safetensors", "named/own.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / name).chmod(0o600)
    with new_weights_follow_umask(tmp_path):
        for name in ("model.safetensors", "named/adapter_model.safetensors"):
            save_file({"weight": torch.ones(1)}, tmp_path / name)
    private, new = "0o600", oct(0o666 & ~umask)
    named = {name: mode for name, mode in modes(tmp_path).items() if name != "named"}
    assert named == {
        "own.safetensors": private,
        "named/own.safetensors": private,
        "notes.txt": private,
        "model.safetensors": new,
        "named/adapter_model.safetensors": new,
    }
