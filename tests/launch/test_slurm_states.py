"""Parsing the output of scontrol and sacct, which is written here as SLURM 22.05 prints it."""

import pytest

from dramaeval.launch.slurm_states import job_states, parse_sacct, parse_scontrol

SCONTROL = """\
JobId=7 ArrayJobId=5 ArrayTaskId=1 JobName=dramaeval UserId=root(0) JobState=FAILED Reason=NonZeroExitCode \
Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:9 RunTime=00:00:12 Partition=low \
NodeList=first BatchHost=first Command=/tmp/a b/.submitit/5_submission.sh
JobId=5 ArrayJobId=5 ArrayTaskId=2-3,6%2 JobName=dramaeval JobState=PENDING Reason=Resources ExitCode=0:0 \
NodeList=(null)
JobId=9 JobName=dramaeval JobState=RUNNING Reason=None ExitCode=0:0 NodeList=n[1-2]
"""
SACCT = """\
5_1|OUT_OF_MEMORY|0:125|node7
5_2|CANCELLED by 1000|0:0|None assigned
5_[3-4%2]|PENDING|0:0|None assigned
6|NODE_FAIL|1:0|node1
"""


def test_parse_scontrol_returns_the_state_of_each_job_and_array_task():
    states = parse_scontrol(SCONTROL)
    assert states["5_1"].description == "FAILED, NonZeroExitCode, exit code 0:9, on first"
    assert states["5_1"].ended
    for waiting in ("5_2", "5_3", "5_6"):
        assert states[waiting].description == "PENDING, Resources"
        assert not states[waiting].ended
    assert states["9"].description == "RUNNING, on n[1-2]"
    assert set(states) == {"5_1", "5_2", "5_3", "5_6", "9"}


def test_parse_sacct_returns_the_state_of_each_job_and_array_task():
    states = parse_sacct(SACCT)
    assert states["5_1"].description == "OUT_OF_MEMORY, exit code 0:125, on node7"
    assert states["5_2"].description == "CANCELLED, by 1000"
    assert states["5_2"].ended
    assert states["5_3"] == states["5_4"]
    assert not states["5_4"].ended
    assert states["6"].description == "NODE_FAIL, exit code 1:0, on node1"


@pytest.mark.parametrize(
    ("script", "states"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", None),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", {}),
    ],
)
def test_states_are_none_if_slurm_does_not_answer_and_empty_for_unknown_jobs(
    tmp_path, monkeypatch, script, states
):
    for name in ("scontrol", "sacct"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job_states(["5_1"]) == states
