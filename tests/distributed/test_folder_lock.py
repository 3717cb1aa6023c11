"""The lock of a folder: one process at a time, also after a kill, across machines and with wrong clocks."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest
from repository import ROOT

from dramaeval.distributed import folder_lock, lock_holder
from dramaeval.distributed.folder_lock import FolderInUseError, FolderLock, adopt, locked, take
from dramaeval.distributed.lock_holder import (
    NAME,
    STALE,
    Holder,
    ProcessIdentity,
    holder_of,
    read_holder,
)

HOLD = """
import sys, time
from pathlib import Path
from dramaeval.distributed import folder_lock
folder_lock.RENEW = float(sys.argv[2])
folder_lock.take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
RACE = """
import sys, time
from pathlib import Path
from dramaeval.distributed.folder_lock import FolderInUseError, take
print("ready", flush=True)
sys.stdin.readline()
try:
    take(Path(sys.argv[1]))
except FolderInUseError:
    print("refused", flush=True)
else:
    print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def outside_of_slurm(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def start():
    """A function that starts Python code in a process, which is killed at the end of the test."""
    started = []

    def start_code(code, *words):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline()
        return process

    yield start_code
    for process in started:
        process.kill()
        process.communicate()


def write_foreign_lock(folder, seconds, **changes):
    """Write the lock of a process on another machine, which renewed it ``seconds`` ago."""
    process = replace(ProcessIdentity.own(), host="far", machine="another start", process=4711)
    holder = Holder(token="theirs", processes=(process,), since="yesterday", **changes)
    (folder / NAME).write_text(json.dumps(holder.to_json()))
    renewed = time.time() - seconds
    os.utime(folder / NAME, (renewed, renewed))


def test_a_running_process_keeps_its_folder_at_any_clock_time(tmp_path, start):
    holder = start(HOLD, tmp_path, 60)
    for moment in (0, 1e9, 4e9):
        os.utime(tmp_path / NAME, (moment, moment))
        with pytest.raises(FolderInUseError) as raised:
            take(tmp_path)
        message = str(raised.value)
        assert "\n" not in message
        assert f"{tmp_path} is in use by process {holder.pid} on " in message
        assert "hydra.run.dir=" in message
        assert holder_of(tmp_path).processes[0].process == holder.pid
    assert [one.name for one in tmp_path.iterdir()] == [NAME]


def test_the_folder_of_a_killed_process_is_free(tmp_path, start):
    holder = start(HOLD, tmp_path, 60)
    holder.kill()
    holder.wait()
    assert holder_of(tmp_path) is None
    with locked(tmp_path):
        assert read_holder(tmp_path / NAME).processes == (ProcessIdentity.own(),)
    assert not list(tmp_path.iterdir())


def test_a_process_with_a_reused_number_is_another_process(tmp_path):
    own = ProcessIdentity.own()
    assert own.alive()
    assert replace(own, started=own.started - 1).alive() is False
    assert replace(own, machine="another start").alive() is None
    # `started` is counted in clock ticks since the machine's start, which psutil gives in seconds.
    seconds = psutil.Process().create_time() - psutil.boot_time()
    assert own.started / os.sysconf("SC_CLK_TCK") == pytest.approx(seconds, abs=1.1)


def test_a_change_of_the_clock_does_not_end_a_process(monkeypatch):
    """psutil computes the creation time of a process from the clock, which the test changes by an hour."""
    own = ProcessIdentity.own()
    creation = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: creation(self) + 3600)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert own.alive()


def test_a_zombie_is_not_a_running_process():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    own = replace(ProcessIdentity.own(), process=child.pid, started=lock_holder._started(child.pid))
    assert own.alive()
    child.stdin.close()
    deadline = time.monotonic() + 10
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert own.alive() is False
    child.wait()


def test_a_holder_on_another_machine_is_named_with_the_lock_file(tmp_path):
    write_foreign_lock(tmp_path, 12)
    with pytest.raises(FolderInUseError) as raised:
        take(tmp_path)
    message = str(raised.value)
    assert "in use by process 4711 on far, since yesterday," in message
    assert f"It renewed {tmp_path / NAME} 12 s ago; if it is gone, remove that file." in message
    assert holder_of(tmp_path) is not None


def test_a_lock_of_another_machine_that_is_not_renewed_is_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "WATCH", 0.2)
    write_foreign_lock(tmp_path, STALE + 5)
    assert holder_of(tmp_path) is None
    with locked(tmp_path) as lock:
        assert read_holder(tmp_path / NAME).token == lock.holder.token


def test_a_lock_that_looks_old_is_not_stale_if_it_is_renewed(tmp_path, monkeypatch):
    """A change of the server's clock makes a lock look old; its next renewal shows that the process runs."""
    monkeypatch.setattr(folder_lock, "WATCH", 2.0)
    write_foreign_lock(tmp_path, STALE + 3600)
    renewal = threading.Timer(0.3, lambda: os.utime(tmp_path / NAME, (1.0, 1.0)))
    renewal.start()
    with pytest.raises(FolderInUseError, match="on far"):
        take(tmp_path)
    renewal.join()


def test_the_age_of_a_lock_is_measured_by_the_clock_of_the_file_system(tmp_path, monkeypatch):
    """The local clock is wrong by years."""
    write_foreign_lock(tmp_path, 12)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert holder_of(tmp_path) is not None
    with pytest.raises(FolderInUseError, match=r"1[2-9] s ago"):
        take(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"token": "th', b"[]", b"\xff\xfe"])
def test_an_unreadable_lock_is_taken_over_only_if_it_is_old(tmp_path, monkeypatch, content):
    monkeypatch.setattr(folder_lock, "WATCH", 0.2)
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(FolderInUseError, match="cannot be named"):
        take(tmp_path)
    os.utime(tmp_path / NAME, (1.0, 1.0))
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("job", "restarts", "array", "takes_over"),
    [
        ("12", 1, None, True),
        ("12", 0, None, False),
        ("13", 1, None, False),
        ("99", 2, "12_3", True),
    ],
)
def test_only_a_requeued_job_takes_over_the_lock_of_its_earlier_start(
    tmp_path, monkeypatch, job, restarts, array, takes_over
):
    write_foreign_lock(tmp_path, 1, job=array or "12", restarts=0)
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    if array:
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    if takes_over:
        with locked(tmp_path):
            assert read_holder(tmp_path / NAME).restarts == restarts
    else:
        with pytest.raises(FolderInUseError, match=r"\(SLURM job 12\)"):
            take(tmp_path)


@pytest.mark.slow
def test_only_one_of_several_processes_takes_a_stale_lock(tmp_path, start):
    racers = [start(RACE, tmp_path / str(turn)) for turn in range(2) for _ in range(3)]
    gone = replace(ProcessIdentity.own(), started=1.0)
    for turn in range(2):
        (tmp_path / str(turn)).mkdir()
        holder = Holder(token=f"stale{turn}", processes=(gone,), since="before")
        (tmp_path / str(turn) / NAME).write_text(json.dumps(holder.to_json()))
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    message = [racer.stdout.readline().strip() for racer in racers]
    for turn in range(2):
        assert sorted(message[3 * turn : 3 * turn + 3]) == ["held", "refused", "refused"]
        assert [one.name for one in (tmp_path / str(turn)).iterdir()] == [NAME]


def test_a_stale_lock_is_removed_only_if_it_was_not_replaced_meanwhile(tmp_path):
    """Another process may take the lock over after this one found it stale and before it removes it."""
    write_foreign_lock(tmp_path, 1)
    FolderLock(tmp_path)._remove("an older one")
    assert read_holder(tmp_path / NAME).token == "theirs"
    # Nor is it removed while another process has the claim to remove it.
    claim = FolderLock(tmp_path, file=tmp_path / f"{NAME}.after-theirs")
    claim._take()
    with pytest.raises(FolderInUseError):
        FolderLock(tmp_path)._remove("theirs")
    assert read_holder(tmp_path / NAME).token == "theirs"
    claim.file.unlink()
    FolderLock(tmp_path)._remove("theirs")
    assert not list(tmp_path.iterdir())


def test_the_lock_works_on_file_systems_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with locked(tmp_path) as lock:
        assert read_holder(tmp_path / NAME).token == lock.holder.token
        with pytest.raises(FolderInUseError):
            FolderLock(tmp_path).acquire()
    assert not list(tmp_path.iterdir())


def test_a_held_lock_is_renewed_and_written_again_if_it_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "RENEW", 0.02)
    with locked(tmp_path):
        for change in (lambda file: os.utime(file, (1.0, 1.0)), lambda file: file.unlink()):
            change(tmp_path / NAME)
            deadline = time.monotonic() + 10
            while not (tmp_path / NAME).is_file() or (tmp_path / NAME).stat().st_mtime < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    assert not list(tmp_path.iterdir())


def test_a_process_whose_lock_was_taken_over_ends_with_an_error(tmp_path, start):
    holder = start(HOLD, tmp_path, 0.05)
    write_foreign_lock(tmp_path, 0)
    assert holder.wait(timeout=10) == 1
    assert "was taken over by process 4711 on far" in holder.stderr.read()
    assert read_holder(tmp_path / NAME).token == "theirs"


def test_the_processes_of_a_run_share_its_lock(tmp_path, start):
    """The lock is held while one of the processes runs, also if the process that started them was killed."""
    first_process = start(HOLD, tmp_path, 60)
    token = read_holder(tmp_path / NAME).token
    adopt(tmp_path, "another lock's")
    assert tmp_path not in folder_lock._HELD
    adopt(tmp_path, token)
    try:
        with locked(tmp_path) as lock:
            lock.share([ProcessIdentity.own()])
        first_process.kill()
        first_process.wait()
        named = read_holder(tmp_path / NAME).processes
        assert [one.process for one in named] == [first_process.pid, os.getpid()]
        with pytest.raises(FolderInUseError, match=f"process {first_process.pid}"):
            FolderLock(tmp_path).acquire()
    finally:
        folder_lock._HELD.pop(tmp_path)


def test_a_forked_process_does_not_release_the_lock(tmp_path):
    with locked(tmp_path):
        child = os.fork()
        if not child:
            folder_lock._release_all()
            os._exit(0)
        os.waitpid(child, 0)
        assert (tmp_path / NAME).is_file()


def test_a_lock_taken_before_a_block_is_released_at_the_end_of_the_block(tmp_path):
    take(tmp_path)
    with locked(tmp_path), locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_without_a_writable_folder_the_local_clock_is_used(tmp_path):
    assert abs(lock_holder._now(tmp_path / "absent") - time.time()) < 5
