"""How whole runs end after a full disk or Ctrl-C, and a check of the fixture that blocks the network."""

import os
import signal
import socket
import subprocess
import time

import pytest

pytestmark = pytest.mark.slow

SETTINGS = (
    "evaluation.zero_shot=false", "evaluation.draws=20", "evaluation.html=false", "task.dimensions=[pitch_dynamics]",
    "trainer.args.max_steps=2", "trainer.args.per_device_train_batch_size=2", "trainer.args.logging_steps=1",
    "trainer.args.eval_steps=1", "trainer.args.save_steps=1",
)  # fmt: skip


@pytest.fixture
def data(make_clips):
    return [f"task.data.{split}={make_clips(split, 4)}" for split in ("train", "val")]


@pytest.fixture
def disk(tmp_path):
    """A disk with room for the first files of a run but not for its first checkpoint."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_attempts_to_reach_another_machine_are_recorded(forkserver, connection_attempts):
    """`launch` asserts for every whole run that this list is empty."""
    connection_attempts()
    for target, given in (
        (socket.create_connection, (("198.51.100.1", 80), 1)),
        (socket.getaddrinfo, ("huggingface.co", 443)),
        (socket.create_connection, (("localhost", 1), 1)),
    ):
        process = forkserver.Process(target=target, args=given)
        process.start()
        process.join(60)
    assert [line.split()[-1] for line in connection_attempts()] == [
        "198.51.100.1",
        "huggingface.co",
    ]


def last_line_of(done, folder):
    """The last line that an interrupted run writes to stderr; it names the folder and how to continue."""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("[")]
    assert lines[-1].endswith(f"start the same command with hydra.run.dir={folder}")
    return lines[-1]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_on_a_full_disk_ends_with_code_3_and_names_the_disk(processes, launch, data, disk):
    folder = disk / "run"
    done = launch(*SETTINGS, *data, f"hydra.run.dir={folder}", f"processes={processes}")
    assert done.returncode == 3
    assert last_line_of(done, folder).startswith(
        "No space is left on the device or in the quota of "
    )
    assert "train: step 1 of 2" in done.stdout
    if processes == 1:  # with enough space the same command continues
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        again = launch(*SETTINGS, *data, f"hydra.run.dir={folder}")
        assert again.returncode == 0, again.stderr


def test_a_sweep_on_a_full_disk_reports_the_failed_run(launch, data, disk):
    done = launch("-m", *SETTINGS, *data, "seed=0", f"hydra.sweep.dir={disk / 'sweep'}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "1 of 1 runs did not finish" in done.stderr
    assert done.stderr.count("failed: No space is left on the device") == 1


def test_ctrl_c_ends_a_run_with_code_130(start_launch, data, tmp_path):
    folder = tmp_path / "run"
    running = start_launch(
        *SETTINGS, *data, "trainer.args.max_steps=500", f"hydra.run.dir={folder}"
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and "step 1 of" not in running.stdout:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    done = running.wait(100)
    assert done.returncode == 130
    assert last_line_of(done, folder).startswith("Stopped by Ctrl-C.")
