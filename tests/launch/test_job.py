"""The state that a run of a sweep records when it ends, fails or is stopped by a signal."""

import json
import os
import signal

import pytest

from dramaeval.distributed.signals import NOW, SOON, Interrupted, StopRequests
from dramaeval.launch import job
from dramaeval.launch.sweeps.state import Pruned, read_state


@pytest.fixture(autouse=True)
def requests(monkeypatch):
    """A new `StopRequests`; the signal handlers are restored afterwards."""
    kept = {number: signal.getsignal(number) for number in (SOON, NOW)}
    fresh = StopRequests()
    monkeypatch.setattr(job, "STOP_REQUESTS", fresh)
    yield fresh
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "0-00000000"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"number": 0, "id": "00000000", "overrides": []}))
    return run


def test_a_stop_signal_interrupts_work_except_within_noted_only(requests):
    requests.listen()
    with pytest.raises(Interrupted, match="SIGTERM"):
        os.kill(os.getpid(), NOW)
    requests.received.clear()
    stop_requested = []

    def train():
        with requests.deferred():
            os.kill(os.getpid(), SOON)
            stop_requested.append(requests.stop)

    with pytest.raises(Interrupted, match="SIGUSR2"):
        train()
    assert stop_requested == [True]
    assert requests.requeue


def test_a_finished_run_records_its_objective_and_updates_the_table(folder):
    with job.recorded(folder) as set_objective:
        assert read_state(folder).state == "running"
        set_objective(0.5)
    state = read_state(folder)
    assert (state.state, state.objective, state.process) == ("done", 0.5, None)
    assert json.loads((folder.parent / "sweep.json").read_text())["best"]["runs"] == [0]


def test_a_failed_run_records_the_first_line_of_the_error(folder):
    with pytest.raises(SystemExit) as raised, job.recorded(folder):
        raise ValueError("no such thing\nas this")
    assert raised.value.code == 1
    state = read_state(folder)
    assert (state.state, state.reason) == ("failed", "ValueError: no such thing")


def test_the_reason_of_a_bare_exit_is_the_last_line_of_the_console_file(folder):
    job.console_of(folder).parent.mkdir()
    job.console_of(folder).write_text("Traceback\nValueError: in process 0\n\n")
    with pytest.raises(SystemExit), job.recorded(folder):
        raise SystemExit(1)
    assert read_state(folder).reason == "ValueError: in process 0"


def test_a_pruned_run_records_its_step_and_objective(folder):
    with job.recorded(folder):
        raise Pruned("at step 4", 0.25)
    state = read_state(folder)
    assert (state.state, state.reason, state.objective) == ("pruned", "at step 4", 0.25)


@pytest.mark.parametrize(("timed_out", "counts"), [(False, (1, 0)), (True, (0, 1))])
def test_a_run_warned_by_slurm_is_requeued(folder, requests, timed_out, counts):
    queue = []

    def requeue():
        # SLURM sends SIGTERM to the whole job while it requeues it.
        assert signal.getsignal(NOW) is signal.SIG_IGN
        queue.append(read_state(folder).state)
        raise SystemExit(-1)  # as submitit does

    requests.received.append(SOON)
    with (
        pytest.raises(SystemExit) as raised,
        job.recorded(folder, requeue=requeue, timed_out=lambda: timed_out),
    ):
        raise Interrupted("stopped at step 7")
    assert raised.value.code == -1
    assert queue == ["interrupted"]
    state = read_state(folder)
    assert (state.preempted, state.timed_out) == counts


def test_a_run_that_cannot_be_requeued_is_recorded_as_failed(folder, requests):
    def requeue():
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    requests.received.append(SOON)
    with pytest.raises(SystemExit), job.recorded(folder, requeue=requeue, timed_out=lambda: True):
        raise Interrupted("stopped at step 7")
    state = read_state(folder)
    assert state.state == "failed"
    assert "timed-out too many times" in state.reason
    assert state.timed_out == 1


def test_an_error_after_a_warning_requeues_the_run(folder, requests):
    """If another process receives the request first and ends, this one fails with a lost connection."""
    queue = []
    requests.received.append(SOON)
    with pytest.raises(SystemExit), job.recorded(folder, requeue=lambda: queue.append(1)):
        raise RuntimeError("Connection closed by peer")
    assert queue == [1]


def test_a_run_ended_without_a_warning_is_not_requeued(folder, requests):
    queue = []
    requests.received.append(NOW)
    with pytest.raises(SystemExit) as raised, job.recorded(folder, requeue=lambda: queue.append(1)):
        raise Interrupted("SIGTERM")
    assert raised.value.code == 128 + signal.SIGTERM
    assert queue == []
    assert read_state(folder).state == "interrupted"


def test_a_worker_process_records_its_rank_and_the_error(folder):
    with pytest.raises(ValueError, match="lost"), job.recorded_on_worker(folder, 2):
        raise ValueError("lost")
    assert read_state(folder).reason == "process 2: ValueError: lost"


def test_a_worker_process_records_no_state_after_a_stop_request(folder, requests):
    for error in (Interrupted("SIGUSR2"), RuntimeError("Connection closed by peer")):
        requests.received.append(SOON)
        with pytest.raises(SystemExit) as raised, job.recorded_on_worker(folder, 1):
            raise error
        assert raised.value.code == 0
    assert read_state(folder).state == "waiting"
