"""States of runs: what is counted, what is kept, who is gone."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from dramaeval.sweep.state import RunState, change_state, first_line, read_state


def test_a_run_that_was_warned_twice_counts_what_for(tmp_path):
    change_state(tmp_path, RunState.begun)
    change_state(tmp_path, lambda one: one.stopped("at step 3", warned=True, timed_out=False))
    change_state(tmp_path, lambda one: one.begun(requeued=True))
    change_state(tmp_path, lambda one: one.stopped("at step 5", warned=True, timed_out=True))
    change_state(tmp_path, lambda one: one.begun(requeued=True))
    state = change_state(tmp_path, lambda one: one.ended("done", objective=0.5))
    assert (state.preempted, state.timed_out, state.restarted) == (1, 1, 0)
    assert read_state(tmp_path) == state


def test_a_requeue_without_a_warning_was_a_preemption():
    stopped = RunState().begun().stopped("SIGTERM", warned=False, timed_out=False)
    assert stopped.preempted == 0
    assert stopped.begun(requeued=True).preempted == 1
    assert stopped.begun().preempted == 0  # a user resumed it


def test_an_end_without_a_word_is_a_restart():
    assert RunState().begun().begun().restarted == 1


def test_the_first_reason_is_kept():
    state = RunState().begun().failed("process 1: out of memory")
    assert state.failed("connection closed by peer").reason == "process 1: out of memory"
    assert state.stopped("SIGTERM", warned=False, timed_out=False).state == "failed"


def test_a_process_that_is_no_more_is_gone():
    here = RunState().begun()
    assert not here.gone
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert replace(here, process=child.pid).gone
    # The same number, but another process.
    assert replace(here, process=os.getpid(), born=1.0).gone
    # Only its own machine knows.
    assert not replace(here, process=child.pid, host="elsewhere").gone


def a_bare_error():
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
def test_the_reason_is_the_first_line_that_says_something(error, line):
    assert first_line(error) == line


def test_an_error_without_words_says_where():
    assert first_line(a_bare_error()).startswith("AssertionError at ")
