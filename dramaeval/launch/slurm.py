"""``hydra/launcher=slurm`` and ``slurm_cpu``: submits the runs of a sweep as a SLURM job array, through submitit."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from submitit.core import utils
from submitit.helpers import clean_env, environment_variables

from dramaeval.compat.submitit import Executor
from dramaeval.config.config_folder import command_name
from dramaeval.config.problems import ConfigError
from dramaeval.config.sweep_options import SlurmOptions
from dramaeval.data.manifest import DamagedFileError, read_sealed
from dramaeval.distributed.folder_lock import remove_lock
from dramaeval.distributed.lock_holder import holder_of
from dramaeval.distributed.slurm_rendezvous import processes_problem
from dramaeval.launch.job import SlurmRun
from dramaeval.launch.launcher import SweepLauncher
from dramaeval.launch.runner import JobRunner
from dramaeval.launch.slurm_states import SlurmState, job_states
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

#: Settings in ``hydra.launcher`` with the same name in submitit.
_UNCHANGED = ("partition", "account", "qos", "constraint", "nodes", "gpus_per_node", "cpus_per_task",
              "array_parallelism", "signal_delay_s")  # fmt: skip
#: Settings whose default a user may give as a variable of sbatch, such as ``SBATCH_ACCOUNT``.
_DEFAULTS = ("partition", "account", "qos", "constraint")
#: Options of sbatch that have a setting in ``hydra.launcher``, each with that setting.
_ELSEWHERE = {
    "array": "array_parallelism", "output": "nothing: logs go to the sweep's folder", "o": "nothing",
    "error": "nothing: logs go to the sweep's folder", "e": "nothing", "signal": "signal_delay_s",
    "open-mode": "nothing", "requeue": "nothing", "no-requeue": "nothing", "time": "timeout_min",
    "job-name": "name", "mem": "mem_gb", "ntasks-per-node": "tasks_per_node", "partition": "partition",
    "account": "account", "qos": "qos", "constraint": "constraint", "nodes": "nodes",
    "gpus-per-node": "gpus_per_node", "cpus-per-task": "cpus_per_task", "ntasks": "tasks_per_node",
    "wrap": "setup",
}  # fmt: skip
#: The name of a long option of sbatch; ``_`` stands for a dash.
_OPTION = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
#: The number of a job, or of a task of an array.
_JOB = re.compile(r"\d+(_\d+)?")


class SlurmLauncher(SweepLauncher):
    """Submits the runs to SLURM."""

    OPTIONS = SlurmOptions

    def problems(self) -> list[str]:
        """The problems of the sweep's settings, including those with SLURM."""
        problems = super().problems()
        problems += additional_problems(self.options.get("additional") or {})
        if self.options.get("tasks_per_node") is None:
            problems.append(
                "hydra.launcher.tasks_per_node=null: without gpus_per_node it needs a number of processes."
            )
        minutes, delay = (self.options.get(name) for name in ("timeout_min", "signal_delay_s"))
        if isinstance(minutes, int) and isinstance(delay, int) and delay >= minutes * 60:
            problems.append(
                f"hydra.launcher.signal_delay_s={delay} is not shorter than timeout_min={minutes}: the run would "
                "be stopped as soon as it starts. Increase timeout_min, or decrease signal_delay_s."
            )
        path = str(self.folder.path)
        if "%" in path or "\\" in path:
            problems.append(
                f"hydra.sweep.dir={path}: SLURM reads % and \\ in the names of logs as patterns; choose a "
                "folder without them."
            )
        if not self.is_check and shutil.which("sbatch") is None:
            problems.append(
                "There is no sbatch on the PATH: start the sweep on a login node of a SLURM cluster, use "
                "hydra/launcher=local_processes, or show with launch.check=true what would be submitted."
            )
        return problems

    @property
    def tasks(self) -> int:
        """The number of processes of a run."""
        return int(self.options["nodes"]) * int(self.options["tasks_per_node"])

    def job_runner(self) -> JobRunner:
        """The object that submits and watches the runs."""
        return SlurmJobRunner(self.folder, self.options)

    def preview(self, runs: Sequence[SweepRun]) -> str:
        """The sbatch script, and the log of each rank."""
        executor = make_executor(self.folder.path, self.options)
        text, command = executor.preview(len(runs))
        tasks, per_node = self.tasks, int(self.options["tasks_per_node"])
        lines = [f"Nothing is submitted. {shlex.join(command)} would send:", "", text.rstrip(), ""]
        lines.append(f"{len(runs)} runs, {tasks} process{'es' if tasks > 1 else ''} each:")
        for index, run in enumerate(runs):
            element = f"array task {index}" if len(runs) > 1 else "the job"
            overrides = shlex.join(run.overrides) or "(defaults)"
            lines.append(f"  {run.folder.name} ({element}): {overrides}")
        lines += ["", "Each process runs dramaeval.launch.job.SlurmRun(<folder of the run>) as:"]
        for rank in range(tasks):
            log = f"logs/rank-{rank}.log" if rank else "train.log"
            lines.append(
                f"  rank {rank} of {tasks}: node {rank // per_node} of {self.options['nodes']}, "
                f"local rank {rank % per_node}, log {log}"
            )
        return "\n".join(lines)

    @property
    def machine(self) -> Mapping[str, Any]:
        """The number of processes, the kind of device, and without GPUs the memory of the node."""
        if self.options["gpus_per_node"]:
            return {"processes": self.tasks, "plan_device": "cuda"}
        one_node = int(self.options["nodes"]) == 1
        memory = self.options["mem_gb"] if one_node else None
        return {"processes": self.tasks, "plan_device": "cpu", "plan_memory_gib": memory}

    def run_problems(self, config: DictConfig) -> list[str]:
        """Report ``processes`` that differ from the number of tasks, and ``device=cuda`` without GPUs."""
        problems = []
        if config.processes not in (1, self.tasks):
            problems.append(processes_problem(config.processes, self.tasks))
        if config.device.value == "cuda" and not self.options["gpus_per_node"]:
            problems.append(
                "device=cuda, but hydra.launcher.gpus_per_node=null: set gpus_per_node, or leave device out."
            )
        return problems


def make_executor(sweep: Path, options: Mapping[str, Any]) -> Executor:
    """The executor that submits the runs in a sweep's folder, with the settings of ``hydra.launcher``."""
    executor = Executor(sweep / ".submitit", max_num_timeout=options["max_num_timeout"])
    mem = options["mem_gb"]
    additional = {
        name: value for name, value in options["additional"].items() if value is not False
    }
    executor.update_parameters(
        **{name: options[name] for name in _UNCHANGED},
        job_name=options["name"],
        time=options["timeout_min"],
        ntasks_per_node=options["tasks_per_node"],
        mem=None if mem is None else f"{round(mem * 1024)}M",
        setup=options["setup"] or None,
        # srun does not inherit the number of cores from sbatch. Without --kill-on-bad-exit the other processes of a
        # run wait for a process that failed.
        srun_args=[
            f"--cpus-per-task={options['cpus_per_task']}",
            "--kill-on-bad-exit=1",
            *options["srun_args"],
        ],
        additional_parameters={"requeue": True, **additional},
        stderr_to_stdout=True,
        wckey=None,
    )
    return executor


def additional_problems(names: Iterable[Any]) -> list[str]:
    """The problems of option names, which are copied into the sbatch script without quotes.

    A name must be a valid long option, and no other setting may set the same option.
    """
    problems = []
    for key in names:
        name = str(key).replace("_", "-")
        # sbatch accepts abbreviated names of options.
        candidates = [option for option in _ELSEWHERE if option.startswith(name)]
        option = name if name in candidates else next(iter(candidates), None)
        if not isinstance(key, str) or not _OPTION.fullmatch(key):
            problems.append(
                f"hydra.launcher.additional: {key!r} is not the name of an sbatch option: give the long name "
                "without leading dashes, with letters and dashes only, such as mail-user."
            )
        elif option:
            use = _ELSEWHERE[option]
            use = use if use.startswith("nothing") else f"hydra.launcher.{use}"
            short = "" if option == name else f" sbatch may read it as --{option}:"
            problems.append(f"hydra.launcher.additional.{key}:{short} use {use}.")
    return problems


class SlurmJobRunner(JobRunner):
    """Submits runs to SLURM, and records the end of runs that could not record it themselves.

    Args:
        runs: runs that were submitted before.
    """

    detachable = True

    def __init__(
        self, sweep: SweepFolder, options: Mapping[str, Any], runs: Sequence[SweepRun] = ()
    ) -> None:
        self.sweep, self.options, self.runs = sweep, options, runs
        self.poll_seconds = float(options["poll_seconds"])
        self._ended: Counter[int] = Counter()

    def submit(self, runs: Sequence[SweepRun]) -> None:
        """Submit the runs as one array.

        Raises:
            ConfigError: sbatch refuses the job; contains sbatch's message.
        """
        executor = make_executor(self.sweep.path, self.options)
        path = [os.path.abspath(folder) for folder in sys.path[:1] if folder]
        try:
            with _without_job_variables(self.options):
                jobs = executor.submit_array([SlurmRun(str(run.folder), path) for run in runs])
        except utils.FailedJobError as error:
            raise ConfigError(f"sbatch refuses: {str(error).strip()}") from None
        for run, job in zip(runs, jobs, strict=True):
            write_sealed(run.folder / "slurm.json", {"job": job.job_id})
        self.runs = runs

    def poll(self) -> Mapping[int, str]:
        """Ask SLURM for the states of the unfinished runs, and record the end of the runs that SLURM has ended."""
        jobs = {run.number: job_of(run) for run in self._unfinished()}
        states = job_states([job for job in jobs.values() if job])
        if states is None:
            return dict.fromkeys(jobs, "SLURM does not answer")
        queue_states = {}
        for run in self._unfinished():
            job = jobs.get(run.number)
            if job is None:
                if holder_of(run.folder) is None:
                    reason = "slurm.json is damaged, so the state of the run's job is unknown"
                    change_state(run.folder, partial(RunState.failed, reason=reason))
                continue
            state = states.get(job)
            if state is not None and not state.ended:
                del self._ended[run.number]
                queue_states[run.number] = state.description
                continue
            # SLURM may report the end of a job before a shared file system shows the state that the run wrote.
            self._ended[run.number] += 1
            if self._ended[run.number] > 1:
                _settle(run, job, state, self.sweep.path)
        return queue_states

    def _unfinished(self) -> list[SweepRun]:
        return [run for run in self.runs if not read_state(run.folder).final]

    @property
    def finished(self) -> bool:
        """Whether all runs have ended."""
        return not self._unfinished()

    def stop(self) -> None:
        """Cancel the jobs; a run that has started saves a checkpoint first."""
        if jobs := [job for run in self._unfinished() if (job := job_of(run))]:
            subprocess.run(["scancel", *jobs], check=False)


@contextmanager
def _without_job_variables(options: Mapping[str, Any]) -> Iterator[None]:
    """Remove SLURM's variables inside the block, except the location of SLURM's configuration and the user's defaults.

    New jobs inherit the environment, and this process may itself run in a job. A default such as ``SBATCH_ACCOUNT`` is
    kept only for an option that is null, because sbatch prefers it to the option in the script.
    """
    names = {"SLURM_CONF", *(f"SBATCH_{key.upper()}" for key in _DEFAULTS if options[key] is None)}
    kept = {name: value for name, value in os.environ.items() if name in names}
    with clean_env(), environment_variables(**kept):
        yield


def job_of(run: SweepRun) -> str | None:
    """The number of a run's SLURM job; None if the run was not submitted, or if ``slurm.json`` is damaged.

    Raises:
        ConfigError: the file holds another text, which SLURM's commands could read as an option.
    """
    try:
        job = str(read_sealed(run.folder / "slurm.json", ("job",))["job"])
    except (FileNotFoundError, DamagedFileError, KeyError):
        return None
    if not _JOB.fullmatch(job):
        raise ConfigError(
            f"{run.folder / 'slurm.json'}: {job!r} is not the number of a SLURM job. Remove the file, then run again: "
            f"{command_name()} resume=true sweep={run.folder.parent}"
        )
    return job


def _settle(run: SweepRun, job: str, job_state: SlurmState | None, sweep: Path) -> None:
    """Record the end of a run whose job has ended, unless another process works in its folder."""
    holder = holder_of(run.folder)
    if holder is not None:
        if holder.job != job or holder.alive():
            return
        remove_lock(run.folder, holder)
    reason = f"SLURM: {job_state.description}" if job_state else f"SLURM no longer knows job {job}"
    log = sweep / ".submitit" / f"{job}_0_log.out"
    if log.is_file():
        reason += f"; its log: .submitit/{log.name}"

    def end(state: RunState) -> RunState:
        if state.final:
            return state
        return state.ended(NEVER if state.state == WAITING else FAILED, reason)

    change_state(run.folder, end)
