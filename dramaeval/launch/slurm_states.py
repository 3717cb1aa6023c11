"""What SLURM says of jobs: from its controller, and from its accounts for those that the controller forgot."""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from submitit.slurm.slurm import read_job_id

log = logging.getLogger(__name__)

#: States after which a job does not go on by itself.
ENDED = frozenset(
    {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE",
     "PREEMPTED", "REVOKED"}
)  # fmt: skip


@dataclass(frozen=True)
class SlurmState:
    """What SLURM says of a job.

    Attributes:
        state: SLURM's word, as ``OUT_OF_MEMORY``.
        details: reason, exit code and nodes, as far as they say something.
    """

    state: str
    details: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the job does not go on by itself."""
        return self.state in ENDED

    @property
    def description(self) -> str:
        """In a few words."""
        return ", ".join([self.state, *self.details])


def ask_slurm(jobs: Sequence[str]) -> dict[str, SlurmState] | None:
    """The states of jobs (``12`` or ``12_3``) by their numbers.

    Returns:
        the jobs that SLURM knows; None where it does not answer, from which nothing follows.
    """
    wanted = set(jobs)
    found: dict[str, SlurmState] = {}
    for number in sorted({job.split("_")[0] for job in wanted}):
        said = _said(["scontrol", "--oneliner", "show", "job", number])
        if said is None:
            return None
        found |= parse_scontrol(said)
    missing = sorted({job.split("_")[0] for job in wanted - set(found)})
    if missing:
        fields = "--format=JobID,State,ExitCode,NodeList"
        words = ["sacct", "-X", "--parsable2", "--noheader", fields, "-j", ",".join(missing)]
        # Many clusters keep no accounts: sacct then has nothing to say.
        found = {**parse_sacct(_said(words) or ""), **found}
    return {job: state for job, state in found.items() if job in wanted}


def _said(words: Sequence[str]) -> str | None:
    """What a command answers: nothing for a job that it does not know, None where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("%s: %s", words[0], error)
        return None
    if done.returncode == 0:
        return done.stdout
    return "" if "Invalid job id" in done.stderr else None


def parse_scontrol(text: str) -> dict[str, SlurmState]:
    """Read ``scontrol --oneliner show job``; an array's waiting tasks share a line."""
    found: dict[str, SlurmState] = {}
    for line in text.splitlines():
        fields = dict(re.findall(r"(?:^|\s)([A-Za-z:/]+)=(\S*)", line))
        if "JobId" not in fields:
            continue
        names = [fields["JobId"]]
        if "ArrayJobId" in fields:
            # Single tasks, "0-3,7", and "0-3,7%2" where so many run at a time.
            tasks = fields["ArrayTaskId"].split("%")[0]
            names = [f"{fields['ArrayJobId']}_{task}" for task in _numbers(tasks)]
        said = [] if fields.get("Reason") in (None, "None") else [fields["Reason"]]
        state = fields["JobState"]
        if fields.get("ExitCode", "0:0") != "0:0" and state in ENDED:
            said.append(f"exit code {fields['ExitCode']}")
        if fields.get("NodeList") not in (None, "", "(null)"):
            said.append(f"on {fields['NodeList']}")
        found |= dict.fromkeys(names, SlurmState(state, tuple(said)))
    return found


def _numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def parse_sacct(text: str) -> dict[str, SlurmState]:
    """Read ``sacct --parsable2`` of job, state, exit code and nodes."""
    found: dict[str, SlurmState] = {}
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) != 4:
            continue
        job, state, code, nodes = fields
        word, _, by = state.partition(" ")
        said = [by] if by else []
        if code not in ("", "0:0") and word in ENDED:
            said.append(f"exit code {code}")
        if nodes and nodes != "None assigned":
            said.append(f"on {nodes}")
        for name in read_job_id(job):
            last = int(name[2]) if len(name) > 2 else None
            one = "_".join(name[:2])
            found[one] = SlurmState(word, tuple(said))
            if last is not None:
                for number in range(int(name[1]), last + 1):
                    found[f"{name[0]}_{number}"] = found[one]
    return found
