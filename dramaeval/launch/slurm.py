"""``hydra/launcher=slurm`` and ``slurm_cpu``: the runs of a sweep as a job array of SLURM, through submitit."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from submitit.core import utils
from submitit.helpers import clean_env, environment_variables

from dramaeval.config.problems import ConfigError
from dramaeval.data.manifest import DamagedFileError, read_sealed
from dramaeval.distributed.folder_lock import remove_lock
from dramaeval.distributed.lock_holder import holder_of
from dramaeval.distributed.slurm_rendezvous import processes_problem
from dramaeval.launch.job import SlurmRun
from dramaeval.launch.launcher import SweepLauncher, import_path
from dramaeval.launch.runner import JobRunner
from dramaeval.launch.sbatch import make_executor
from dramaeval.launch.slurm_states import SlurmState, ask_slurm
from dramaeval.launch.sweeps.folder import SweepFolder, SweepRun
from dramaeval.launch.sweeps.state import (
    FAILED,
    NEVER,
    WAITING,
    RunState,
    change_state,
    read_state,
    write_sealed,
)

#: Options of sbatch's that would contradict what is set elsewhere, and where.
_ELSEWHERE = {
    "array": "array_parallelism", "output": "nothing: logs go to the sweep's folder", "o": "nothing",
    "error": "nothing: logs go to the sweep's folder", "e": "nothing", "signal": "signal_delay_s",
    "open-mode": "nothing", "requeue": "nothing", "no-requeue": "nothing", "time": "timeout_min",
    "job-name": "name", "mem": "mem_gb", "ntasks-per-node": "tasks_per_node", "partition": "partition",
    "account": "account", "qos": "qos", "constraint": "constraint", "nodes": "nodes",
    "gpus-per-node": "gpus_per_node", "cpus-per-task": "cpus_per_task", "ntasks": "tasks_per_node",
    "wrap": "setup",
}  # fmt: skip


#: A long option of sbatch's; `_` stands for a dash.
_OPTION = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
#: A job, or a task of an array.
_JOB = re.compile(r"\d+(_\d+)?")


class SlurmLauncher(SweepLauncher):
    """Sends the runs to SLURM."""

    KINDS: Mapping[str, str] = {
        "name": "text",
        "partition": "text?",
        "account": "text?",
        "qos": "text?",
        "constraint": "text?",
        "nodes": "positive",
        "gpus_per_node": "positive?",
        "tasks_per_node": "positive",
        "cpus_per_task": "positive",
        "mem_gb": "amount?",
        "timeout_min": "positive",
        "array_parallelism": "positive",
        "max_num_timeout": "count",
        "signal_delay_s": "positive",
        "setup": "texts",
        "srun_args": "texts",
        "additional": "options",
        "poll_seconds": "seconds",
    }

    def problems(self) -> list[str]:
        """What of the sweep's settings SLURM cannot be asked for."""
        found = super().problems()
        found += additional_problems(self.options.get("additional") or {})
        minutes, delay = (self.options.get(name) for name in ("timeout_min", "signal_delay_s"))
        if isinstance(minutes, int) and isinstance(delay, int) and delay >= minutes * 60:
            found.append(
                f"hydra.launcher.signal_delay_s={delay} is as long as timeout_min={minutes}: the run would be "
                "told to stop as soon as it begins. Give it more time, or less of a warning."
            )
        path = str(self.folder.path)
        if "%" in path or "\\" in path:
            found.append(
                f"hydra.sweep.dir={path}: SLURM reads % and \\ in the names of logs as patterns; choose a "
                "folder without them."
            )
        if not self.checks and shutil.which("sbatch") is None:
            found.append(
                "There is no sbatch on the PATH: start the sweep on a login node of a SLURM cluster, take "
                "hydra/launcher=local_processes, or see with launch.check=true what would be sent."
            )
        return found

    @property
    def tasks(self) -> int:
        """Processes that share a run."""
        return int(self.options["nodes"]) * int(self.options["tasks_per_node"])

    def job_runner(self) -> JobRunner:
        """SLURM."""
        return SlurmJobRunner(self.folder, self.options)

    def preview(self, runs: Sequence[SweepRun]) -> str:
        """The sbatch script and what each rank will run."""
        executor = make_executor(self.folder.path, self.options)
        text, command = executor.preview(len(runs))
        tasks = self.tasks
        lines = [f"Nothing is submitted. {shlex.join(command)} would send:", "", text.rstrip(), ""]
        lines.append(f"{len(runs)} runs, {tasks} process{'es' if tasks > 1 else ''} each:")
        for place, run in enumerate(runs):
            element = f"array task {place}" if len(runs) > 1 else "the job"
            lines.append(
                f"  {run.folder.name} ({element}): {shlex.join(run.overrides) or '(defaults)'}"
            )
        lines += ["", *ranks(self.options)]
        return "\n".join(lines)

    def carry_out(self, runs: Sequence[SweepRun]) -> Any:
        """Check each run against what it would be given, then send all."""
        problems = []
        for run in runs:
            asked = run.config().processes
            if asked not in (1, self.tasks):
                problems.append(f"{run.folder.name}: {processes_problem(asked, self.tasks)}")
        if problems:
            raise ConfigError(problems)
        return super().carry_out(runs)


def additional_problems(names: Iterable[Any]) -> list[str]:
    """Names that stand in the sbatch script as they are, and are no option of sbatch's or belong elsewhere."""
    found = []
    for given in names:
        key, name = f"hydra.launcher.additional.{given!s}", str(given).replace("_", "-")
        # sbatch takes the beginning of a name for the whole.
        meant = [one for one in _ELSEWHERE if one.startswith(name)]
        if not isinstance(given, str) or not _OPTION.fullmatch(given):
            found.append(
                f"hydra.launcher.additional: {given!r} is no name of an option of sbatch: give the long name "
                "without dashes in front, letters and dashes alone, as mail-user."
            )
        elif name in _ELSEWHERE or meant:
            whole = name if name in _ELSEWHERE else meant[0]
            use = _ELSEWHERE[whole]
            use = use if use.startswith("nothing") else f"hydra.launcher.{use}"
            short = "" if whole == name else f" sbatch may read it as --{whole}:"
            found.append(f"{key}:{short} use {use}.")
    return found


def ranks(options: Mapping[str, Any]) -> list[str]:
    """What each process of a run is and where it writes."""
    nodes, tasks = int(options["nodes"]), int(options["tasks_per_node"])
    lines = ["Each process runs dramaeval.launch.job.SlurmRun(<folder of the run>) as:"]
    for rank in range(nodes * tasks):
        log = "train.log" if rank == 0 else f"logs/rank-{rank}.log"
        lines.append(
            f"  rank {rank} of {nodes * tasks}: node {rank // tasks} of {nodes}, "
            f"local rank {rank % tasks}, log {log}"
        )
    return lines


class SlurmJobRunner(JobRunner):
    """SLURM.

    Args:
        sweep: its folder.
        options: of ``hydra.launcher``.
    """

    stays = True

    def __init__(self, sweep: SweepFolder, options: Mapping[str, Any]) -> None:
        self.sweep, self.options = sweep, options
        self.poll_seconds = float(options["poll_seconds"])
        self.runs: list[SweepRun] = []
        self._ended: dict[int, int] = {}

    def begin(self, runs: Sequence[SweepRun]) -> None:
        """Submit them as one array.

        Raises:
            ConfigError: sbatch refuses, in its own words.
        """
        executor = make_executor(self.sweep.path, self.options)
        path = [os.path.abspath(one) for one in import_path()]
        try:
            with _as_outside_of_jobs():
                jobs = executor.submit_array([SlurmRun(str(run.folder), path) for run in runs])
        except utils.FailedJobError as error:
            raise ConfigError([f"sbatch refuses: {str(error).strip()}"]) from None
        for run, job in zip(runs, jobs, strict=True):
            write_sealed(run.folder / "slurm.json", {"job": job.job_id})
        self.runs = list(runs)

    def take_up(self, runs: Sequence[SweepRun]) -> None:
        """Look after runs that were submitted before."""
        self.runs = list(runs)

    def look(self) -> Mapping[int, str]:
        """Ask SLURM about those that have not finished; settle those that it has ended."""
        jobs = {run.number: job_of(run) for run in self.runs if not read_state(run.folder).final}
        told = ask_slurm([job for job in jobs.values() if job])
        if told is None:
            return dict.fromkeys(jobs, "SLURM does not answer")
        outlook = {}
        for run in self.runs:
            job = jobs.get(run.number)
            if read_state(run.folder).final:
                continue
            if job is None:
                _give_up(run)
                continue
            state = told.get(job)
            if state is not None and not state.ended:
                self._ended.pop(run.number, None)
                outlook[run.number] = state.told
                continue
            # A shared folder may show a run's last words later than SLURM shows its end.
            self._ended[run.number] = self._ended.get(run.number, 0) + 1
            if self._ended[run.number] > 1:
                _settle(run, job, state, self.sweep.path)
        return outlook

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return all(read_state(run.folder).final for run in self.runs)

    def stop(self) -> None:
        """Cancel the jobs; runs that work save a checkpoint first."""
        jobs = [job_of(run) for run in self.runs if not read_state(run.folder).final]
        if any(jobs):
            subprocess.run(["scancel", *filter(None, jobs)], check=False)


@contextmanager
def _as_outside_of_jobs() -> Iterator[None]:
    """Keep what this terminal may have inherited from a job away from new ones, but not where SLURM is."""
    where = {"SLURM_CONF": os.environ["SLURM_CONF"]} if "SLURM_CONF" in os.environ else {}
    with clean_env(), environment_variables(**where):
        yield


def job_of(run: SweepRun) -> str | None:
    """SLURM's number of a run's job; None where it was never submitted, or where the number was lost.

    Raises:
        ConfigError: the file holds anything else, which SLURM's commands might read as an option.
    """
    try:
        job = str(read_sealed(run.folder / "slurm.json", ("job",))["job"])
    except (FileNotFoundError, DamagedFileError, KeyError):
        return None
    if not _JOB.fullmatch(job):
        raise ConfigError([f"{run.folder / 'slurm.json'}: {job!r} is no number of a SLURM job."])
    return job


def _give_up(run: SweepRun) -> None:
    """Write down that a run cannot be looked after, unless a process works in its folder."""
    if holder_of(run.folder) is None:
        words = "slurm.json is damaged, so that SLURM cannot be asked about the run"
        change_state(run.folder, lambda state: state.failed(words))


def _settle(run: SweepRun, job: str, said: SlurmState | None, sweep: Path) -> None:
    """Write down the end of a run that could not do so itself."""

    def change(state: RunState) -> RunState:
        if state.final or holder is not None:
            return state
        if state.state == WAITING:
            return state.ended(NEVER, words)
        return state.ended(FAILED, words)

    holder = holder_of(run.folder)
    if holder is not None and holder.job == job and not holder.alive():
        remove_lock(run.folder, holder)
        holder = None
    words = f"SLURM: {said.told}" if said else f"SLURM no longer knows job {job}"
    log = sweep / ".submitit" / f"{job}_0_log.out"
    if log.is_file():
        words += f"; its log: .submitit/{log.name}"
    change_state(run.folder, change)
