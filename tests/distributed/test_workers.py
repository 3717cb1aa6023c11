"""Errors of processes of a run: a killed process is named, and a message is not repeated."""

import signal
from pathlib import Path

import pytest

from dramaeval.distributed.spawn import WorkerError, _explain, environment, worker_log

WORKERS = [None, None]


def test_a_killed_process_is_named_with_the_end_of_its_log(tmp_path: Path):
    worker_log(tmp_path, 1).parent.mkdir()
    worker_log(tmp_path, 1).write_text("first\nlast line\n")
    with pytest.raises(
        WorkerError, match=r"(?s)Process 1 of 2 was killed by SIGKILL.*last line.*memory"
    ):
        _explain([(0, 1), (1, -signal.SIGKILL)], WORKERS, tmp_path)


def test_a_message_of_process_0_is_not_repeated(tmp_path: Path):
    with pytest.raises(SystemExit) as raised:
        _explain([(1, 1), (0, 1)], WORKERS, tmp_path)
    assert raised.value.code == 1


def test_all_workers_share_one_port_and_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    shared = environment(4)
    assert (shared["WORLD_SIZE"], shared["OMP_NUM_THREADS"]) == ("4", "2")
    assert int(shared["MASTER_PORT"]) > 0
