"""A full disk, a folder that cannot be written or is gone, and Ctrl-C: one sentence and an exit code each."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
import threading
from contextlib import contextmanager

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from transformers import TrainerCallback

from dramaeval.config.problems import ConfigError
from dramaeval.errors import INTERRUPTED, STOPPED, STORAGE
from dramaeval.stages import train
from dramaeval.stages.context import RunContext
from dramaeval.stages.logging_setup import set_up_logging
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.storage_errors import (
    FolderCheck,
    StorageError,
    require_writable,
    storage_problem,
)
from dramaeval.stages.user_errors import user_facing_errors


@contextmanager
def mounted(folder, options):
    """A small disk of its own, where this user may mount one."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def largest_file(size):
    """No file of this process grows larger: like a quota, for a user who may not mount anything."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


WEIGHTS = {"weight": torch.zeros(300_000)}
WRITERS = {
    "text": lambda folder: (folder / "predictions.jsonl").write_text("x" * 1_200_000),
    "safetensors": lambda folder: save_file(WEIGHTS, folder / "model.safetensors"),
    "torch": lambda folder: torch.save(WEIGHTS, folder / "optimizer.pt"),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_under_every_writer(writer, tmp_path, capsys):
    with mounted(tmp_path / "disk", "size=512k") as disk:
        with pytest.raises(SystemExit) as raised, user_facing_errors(disk):
            WRITERS[writer](disk)
        said = capsys.readouterr().err.strip()
    assert raised.value.code == STORAGE
    assert said.startswith("No space is left on the device or in the quota of ")
    assert str(disk) in said
    assert said.endswith(f"start the same command with hydra.run.dir={disk}")
    assert "\n" not in said


@pytest.mark.parametrize("writer", WRITERS)
def test_a_limit_under_every_writer(writer, tmp_path, capsys):
    with largest_file(100_000), pytest.raises(SystemExit) as raised, user_facing_errors(tmp_path):
        WRITERS[writer](tmp_path)
    said = capsys.readouterr().err.strip()
    assert raised.value.code == STORAGE
    assert str(tmp_path) in said
    assert "\n" not in said


def test_a_folder_that_is_read_only(tmp_path):
    with mounted(tmp_path / "disk", "ro") as disk:
        with pytest.raises(
            StorageError, match=r"hydra.run.dir=.*Read-only file system\. Or choose"
        ):
            require_writable(disk / "run", "hydra.run.dir")
        with pytest.raises(OSError, match="Read-only") as raised:
            (disk / "file").write_text("")
        assert storage_problem(raised.value) == (
            f"{disk / 'file'} cannot be written or read: Read-only file system."
        )


@pytest.mark.parametrize("key", ["run", "sweep"])
def test_hydras_folders_are_tried_before_hydra_writes(key, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    config = OmegaConf.create(
        {"hydra": {key: {"dir": str(tmp_path / "file" / "x")}}, "launch": {"check": False}}
    )
    check = FolderCheck()
    begins = check.on_run_start if key == "run" else check.on_multirun_start
    with pytest.raises(SystemExit) as raised:
        begins(config)
    assert raised.value.code == STORAGE
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"hydra.{key}.dir={tmp_path / 'file' / 'x'} cannot be used: ")
    assert "Not a directory" in said
    config.hydra[key].dir = str(tmp_path / "new")
    begins(config)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_first_error_counts_and_others_keep_their_traceback(tmp_path):
    torchs = RuntimeError("unexpected pos 704 vs 598")
    torchs.__context__ = OSError(28, "No space left on device")
    assert storage_problem(torchs, tmp_path).startswith("No space is left")
    for error in (
        RuntimeError("size mismatch"),
        FileNotFoundError(2, "No such file or directory", "/elsewhere/clip.wav"),
        ConnectionRefusedError(111, "Connection refused"),
    ):
        assert storage_problem(error, tmp_path) is None
        with pytest.raises(type(error)), user_facing_errors(tmp_path):
            raise error
    # What was handled before another error is not its cause.
    fault = ValueError("a fault of the program")
    fault.__context__ = FileNotFoundError(2, "No such file", str(tmp_path / "not there"))
    assert storage_problem(fault, tmp_path) is None


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError(["peft.r=-1 must be 1 or more."]), STOPPED, "peft.r=-1"),
        (StorageError("The run folder is gone."), STORAGE, "The run folder is gone."),
        (KeyboardInterrupt(), INTERRUPTED, "Stopped by Ctrl-C. To resume the run"),
    ],
)
def test_exit_codes(error, code, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised, user_facing_errors(tmp_path):
        raise error
    if code == STOPPED:  # Python prints it, and ends with 1
        assert words in str(raised.value.code)
    else:
        assert raised.value.code == code
        assert words in capsys.readouterr().err


class _Deletes(TrainerCallback):
    """Somebody deletes the run folder while the second step goes on."""

    def __init__(self, folder):
        self.folder = folder

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 1:
            shutil.rmtree(self.folder)


@pytest.mark.slow
def test_a_training_whose_folder_is_deleted_stops_and_does_not_make_it_anew(
    composed, make_clips, tmp_path, monkeypatch
):
    config = composed(
        f"task.data.train={make_clips('train', 4)}", "device=cpu", "logger=none", "stages=[train]",
        "trainer.args.max_steps=4", "trainer.args.per_device_train_batch_size=1", "cache.enabled=false",
        "trainer.args.save_steps=1", "trainer.args.logging_steps=1", "task.dimensions=[pitch_dynamics]",
    )  # fmt: skip
    run = RunContext(config, RunFolder(tmp_path / "run"))
    run.folder.open(config)
    monkeypatch.setattr(run.loggers, "callbacks", lambda step: [_Deletes(run.folder.path)])
    with pytest.raises(StorageError, match="is gone: it was deleted or moved"):
        train.run(run)
    assert not run.folder.path.exists()


def test_an_error_in_a_folder_that_is_gone_is_its_consequence(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()

    def delete_and_write():
        folder.rmdir()
        save_file(WEIGHTS, folder / "model.safetensors")

    with pytest.raises(SystemExit) as raised, user_facing_errors(folder):
        delete_and_write()
    assert raised.value.code == STORAGE
    assert capsys.readouterr().err.strip() == (
        f"The run folder {folder} is gone: it was deleted or moved during the run."
    )


@pytest.fixture
def logging_kept():
    root = logging.getLogger()
    kept, level, hook = list(root.handlers), root.level, threading.excepthook
    yield
    for handler in list(root.handlers):
        if handler not in kept:
            root.removeHandler(handler)
            handler.close()
    root.handlers[:] = kept
    root.setLevel(level)
    threading.excepthook = hook
    logging.captureWarnings(False)


def test_a_log_that_cannot_be_written_is_reported_once(tmp_path, capsys, logging_kept):
    set_up_logging(tmp_path / "train.log")
    log = logging.getLogger("dramaeval.test")
    with largest_file(200):
        for number in range(20):
            log.info("line %d of a long run", number)
    said = capsys.readouterr()
    assert "line 19 of a long run" in said.out
    assert said.out.count("train.log cannot be written") == 1
    assert "Traceback" not in said.err


def test_the_error_of_a_writing_thread_is_in_the_log_file_only(tmp_path, capsys, logging_kept):
    set_up_logging(tmp_path / "train.log")

    def write():
        (tmp_path / "gone" / "events").write_text("")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert "Traceback" not in capsys.readouterr().err
    assert "No such file or directory" in (tmp_path / "train.log").read_text()
