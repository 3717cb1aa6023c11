"""A full disk, a folder that cannot be written or was deleted, and Ctrl-C end with one sentence and an exit code."""

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
    """Mount a small disk; skip the test if this user may not mount one."""
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
    """Limit the size of every file of this process; like a quota, but without root."""
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
def test_a_full_disk_ends_each_writer_with_one_sentence(writer, tmp_path, capsys):
    with mounted(tmp_path / "disk", "size=512k") as disk:
        with pytest.raises(SystemExit) as raised, user_facing_errors(disk):
            WRITERS[writer](disk)
        message = capsys.readouterr().err.strip()
    assert raised.value.code == STORAGE
    assert message.startswith("No space is left on the device or in the quota of ")
    assert str(disk) in message
    assert message.endswith(f"start the same command with hydra.run.dir={disk}")
    assert "\n" not in message


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_size_limit_ends_each_writer_with_one_sentence(writer, tmp_path, capsys):
    with largest_file(100_000), pytest.raises(SystemExit) as raised, user_facing_errors(tmp_path):
        WRITERS[writer](tmp_path)
    message = capsys.readouterr().err.strip()
    assert raised.value.code == STORAGE
    assert str(tmp_path) in message
    assert "\n" not in message


def test_a_read_only_folder_is_named(tmp_path):
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
def test_the_folders_of_hydra_are_checked_before_hydra_writes(key, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    config = OmegaConf.create(
        {"hydra": {key: {"dir": str(tmp_path / "file" / "x")}}, "launch": {"check": False}}
    )
    check = FolderCheck()
    check_start = check.on_run_start if key == "run" else check.on_multirun_start
    with pytest.raises(SystemExit) as raised:
        check_start(config)
    assert raised.value.code == STORAGE
    message = capsys.readouterr().err.strip()
    assert message.startswith(f"hydra.{key}.dir={tmp_path / 'file' / 'x'} cannot be used: ")
    assert "Not a directory" in message
    config.hydra[key].dir = str(tmp_path / "new")
    check_start(config)
    assert list((tmp_path / "new").iterdir()) == []


def test_only_errors_caused_by_storage_are_storage_problems(tmp_path):
    error_of_torch = RuntimeError("unexpected pos 704 vs 598")
    error_of_torch.__context__ = OSError(28, "No space left on device")
    assert storage_problem(error_of_torch, tmp_path).startswith("No space is left")
    for error in (
        RuntimeError("size mismatch"),
        FileNotFoundError(2, "No such file or directory", "/elsewhere/clip.wav"),
        ConnectionRefusedError(111, "Connection refused"),
    ):
        assert storage_problem(error, tmp_path) is None
        with pytest.raises(type(error)), user_facing_errors(tmp_path):
            raise error
    # An error that was handled before another one is not its cause.
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
def test_each_kind_of_error_has_its_exit_code_and_message(error, code, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised, user_facing_errors(tmp_path):
        raise error
    if code == STOPPED:  # with a text as code, Python prints it and exits with 1
        assert words in str(raised.value.code)
    else:
        assert raised.value.code == code
        assert words in capsys.readouterr().err


class DeleteRunFolder(TrainerCallback):
    """Deletes the run folder at the start of the second step."""

    def __init__(self, folder):
        self.folder = folder

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 1:
            shutil.rmtree(self.folder)


@pytest.mark.slow
def test_a_training_stops_if_its_folder_is_deleted_and_does_not_create_it_again(
    composed, make_clips, tmp_path, monkeypatch, small_judge
):
    config = composed(
        small_judge,
        f"task.data.train={make_clips('train', 4)}", "device=cpu", "logger=none", "stages=[train]",
        "trainer.args.max_steps=4", "trainer.args.per_device_train_batch_size=1", "cache.enabled=false",
        "trainer.args.save_steps=1", "trainer.args.logging_steps=1", "task.dimensions=[pitch_dynamics]",
    )  # fmt: skip
    run = RunContext(config, RunFolder(tmp_path / "run"))
    run.folder.open(config)
    monkeypatch.setattr(run.loggers, "callbacks", lambda step: [DeleteRunFolder(run.folder.path)])
    with pytest.raises(StorageError, match="is gone: it was deleted or moved"):
        train.run(run)
    assert not run.folder.path.exists()


def test_an_error_after_the_folder_was_deleted_is_reported_as_the_deletion(tmp_path, capsys):
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
def restored_logging():
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


def test_a_log_that_cannot_be_written_is_reported_once(tmp_path, capsys, restored_logging):
    set_up_logging(tmp_path / "train.log")
    log = logging.getLogger("dramaeval.test")
    with largest_file(200):
        for number in range(20):
            log.info("line %d of a long run", number)
    message = capsys.readouterr()
    assert "line 19 of a long run" in message.out
    assert message.out.count("train.log cannot be written") == 1
    assert "Traceback" not in message.err


def test_the_error_of_a_thread_is_written_to_the_log_file_only(tmp_path, capsys, restored_logging):
    set_up_logging(tmp_path / "train.log")

    def write():
        (tmp_path / "gone" / "events").write_text("")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert "Traceback" not in capsys.readouterr().err
    assert "No such file or directory" in (tmp_path / "train.log").read_text()
