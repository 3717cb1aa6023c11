"""Asks SLURM's controller for the states of jobs, and SLURM's accounting if the controller has dropped a job."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from submitit.slurm.slurm import read_job_id

log = logging.getLogger(__name__)

#: States in which a job stays unless it is requeued.
ENDED = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE",
     "PREEMPTED", "REVOKED"}
)  # fmt: skip


@dataclass(frozen=True)
class SlurmState:
    """The state of a job.

    Attributes:
        state: SLURM's name of the state, such as ``OUT_OF_MEMORY``.
        details: the reason, the exit code and the nodes, if SLURM gives them.
    """

    state: str
    details: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return self.state in ENDED

    @property
    def description(self) -> str:
        """The state and the details, separated by commas."""
        return ", ".join([self.state, *self.details])


def job_states(jobs: Sequence[str]) -> dict[str, SlurmState] | None:
    """The states of the jobs (``12`` or ``12_3``) that SLURM knows, by job; None if the controller does not answer."""
    requested = set(jobs)
    states: dict[str, SlurmState] = {}
    for number in sorted({job.split("_")[0] for job in requested}):
        output = _output_of(["scontrol", "--oneliner", "show", "job", number])
        if output is None:
            return None
        states |= parse_scontrol(output)
    missing = sorted({job.split("_")[0] for job in requested - set(states)})
    if missing:
        fields = "--format=JobID,State,ExitCode,NodeList"
        command = ["sacct", "-X", "--parsable2", "--noheader", fields, "-j", ",".join(missing)]
        # sacct fails on a cluster without accounting.
        states = {**parse_sacct(_output_of(command) or ""), **states}
    return {job: state for job, state in states.items() if job in requested}


def _output_of(command: Sequence[str]) -> str | None:
    """The output of a command: empty if SLURM does not know the job, None if the command fails."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("%s: %s", command[0], error)
        return None
    if result.returncode == 0:
        return result.stdout
    return "" if "Invalid job id" in result.stderr else None


def _state(state: str, reason: str, code: str, nodes: str) -> SlurmState:
    details = [] if reason in ("", "None") else [reason]
    if code not in ("", "0:0") and state in ENDED:
        details.append(f"exit code {code}")
    if nodes not in ("", "(null)", "None assigned"):
        details.append(f"on {nodes}")
    return SlurmState(state, tuple(details))


def parse_scontrol(text: str) -> dict[str, SlurmState]:
    """Parse the output of ``scontrol --oneliner show job``; the waiting tasks of an array share a line."""
    states: dict[str, SlurmState] = {}
    for line in text.splitlines():
        fields = dict(re.findall(r"(?:^|\s)([A-Za-z:/]+)=(\S*)", line))
        if "JobId" not in fields:
            continue
        job = fields["JobId"]
        if "ArrayJobId" in fields:
            job = f"{fields['ArrayJobId']}_[{fields['ArrayTaskId']}]"
        details = (fields.get(name, "") for name in ("Reason", "ExitCode", "NodeList"))
        states |= dict.fromkeys(_jobs(job), _state(fields["JobState"], *details))
    return states


def _jobs(text: str) -> Iterator[str]:
    """The jobs that a text names: ``6``, ``5_1``, or ``5_[0-3,7%2]`` for tasks of which at most two run at a time."""
    # submitit reads "5_[3-4,7]" as [("5", "3", "4"), ("5", "7")], and "6" as [("6",)].
    for number, *tasks in read_job_id(text):
        if not tasks:
            yield number
        else:
            yield from (f"{number}_{task}" for task in range(int(tasks[0]), int(tasks[-1]) + 1))


def parse_sacct(text: str) -> dict[str, SlurmState]:
    """Parse the output of ``sacct --parsable2`` with the columns job, state, exit code and nodes."""
    states: dict[str, SlurmState] = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 4:
            continue
        job, state, code, nodes = fields
        name, _, reason = state.partition(" ")
        states |= dict.fromkeys(_jobs(job), _state(name, reason, code, nodes))
    return states
