"""The state of a run in state.json: counts of stops, reasons, damaged and older files."""

import json
import os
import socket
from unittest.mock import ANY

import psutil
import pytest

from dramaeval.launch.sweeps import state as states
from dramaeval.launch.sweeps.state import RunState, change_state, error_summary, read_state


def test_stops_are_counted_by_their_reason(tmp_path):
    change_state(tmp_path, RunState.begun)
    change_state(tmp_path, lambda state: state.stopped("at step 3", warned=True, timed_out=False))
    change_state(tmp_path, lambda state: state.begun(requeued=True))
    change_state(tmp_path, lambda state: state.stopped("at step 5", warned=True, timed_out=True))
    change_state(tmp_path, lambda state: state.begun(requeued=True))
    state = change_state(tmp_path, lambda state: state.ended("done", objective=0.5))
    assert (state.preempted, state.timed_out, state.restarted) == (1, 1, 0)
    assert read_state(tmp_path) == state


def test_a_requeue_without_a_warning_counts_as_a_preemption():
    stopped = RunState().begun().stopped("SIGTERM", warned=False, timed_out=False)
    assert stopped.preempted == 0
    assert stopped.begun(requeued=True).preempted == 1
    assert stopped.begun().preempted == 0  # a user resumed it


def test_a_start_after_an_unrecorded_end_counts_as_a_restart():
    assert RunState().begun().begun().restarted == 1


def test_a_later_failure_does_not_replace_the_first_reason():
    state = RunState().begun().failed("process 1: out of memory")
    assert state.failed("connection closed by peer").reason == "process 1: out of memory"
    assert state.stopped("SIGTERM", warned=False, timed_out=False).state == "failed"


def test_the_state_of_an_earlier_version_is_read(tmp_path):
    """Earlier versions wrote no hash, and the creation time of the process."""
    about = {
        "state": "running", "reason": None, "objective": None, "seconds": 2.5, "since": 10.0,
        "preempted": 1, "timed_out": 0, "restarted": 0, "warned": False, "host": socket.gethostname(),
        "process": os.getpid(), "born": psutil.Process().create_time() + 1.5,
    }  # fmt: skip
    (tmp_path / "state.json").write_text(json.dumps(about, indent=1))
    state = read_state(tmp_path)
    assert (state.state, state.preempted, state.seconds) == ("running", 1, 2.5)
    assert change_state(tmp_path, RunState.begun) == read_state(tmp_path)


@pytest.mark.parametrize("old", [False, True], ids=["with its hash", "of an earlier version"])
def test_a_damaged_state_is_unreadable_with_a_reason(tmp_path, old):
    """The test cuts the file off at each byte, and changes each byte."""
    change_state(tmp_path, lambda state: state.begun().ended("done", objective=0.25))
    file = tmp_path / "state.json"
    if old:
        file.write_text(json.dumps({"state": "done", "objective": 0.25, "seconds": 2.0}))
    content, state = file.read_bytes(), read_state(tmp_path)
    for index in range(len(content) - 2):
        file.write_bytes(content[:index])
        damaged = read_state(tmp_path)
        assert damaged.state == states.UNREADABLE
        assert damaged.reason.startswith("state.json is damaged")
        assert not damaged.final
        assert damaged.begun().state == "running"  # it is run again
    for index in range(0 if old else len(content)):
        file.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
        assert read_state(tmp_path) in (state, RunState(state=states.UNREADABLE, reason=ANY))


def assertion_without_message():
    try:
        assert [] == [1]
    except AssertionError as error:
        return error.__class__().with_traceback(error.__traceback__)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("too big\nby far"), "ValueError: too big"),
        (SystemExit("\nThere is 1 problem:\n  1. seed"), "There is 1 problem: 1. seed"),
        (SystemExit(), "ended early"),
    ],
)  # fmt: skip
def test_the_reason_is_the_first_line_with_text(error, line):
    assert error_summary(error) == line


def test_the_reason_of_an_error_without_a_message_is_its_place():
    assert error_summary(assertion_without_message()).startswith("AssertionError at ")
