"""The script that is given to sbatch: submitit's, for folders of any name."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

#: What is given to sbatch under the same name.
_AS_THEY_ARE = ("partition", "account", "qos", "constraint", "nodes", "gpus_per_node", "cpus_per_task",
                "array_parallelism", "signal_delay_s")  # fmt: skip


class Executor(SlurmExecutor):
    """submitit's executor, for folders of any name.

    The names of logs are given to sbatch as arguments: in a line of the script a newline in them would begin
    a command.
    """

    @classmethod
    def affinity(cls) -> int:
        """Whether SLURM is here is told by the launcher, in its own words."""
        return 2

    @classmethod
    def name(cls) -> str:
        """As submitit knows it."""
        return "slurm"

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        """submitit's script, with the folder only where bash reads it as one quoted word."""
        parameters = dict(self.parameters)
        log = self.folder / ("%A_%a_%t_log.out" if "map_count" in parameters else "%j_%t_log.out")
        srun = ["srun", "--unbuffered", f"--output={log}", *parameters.pop("srun_args")]
        text = _make_sbatch_string(
            command=f"{shlex.join(srun)} {command}", folder="/", use_srun=False, **parameters
        )
        return "".join(
            line for line in text.splitlines(True) if not line.startswith("#SBATCH --output=")
        )

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        which = "%A_%a" if self.parameters.get("map_count") else "%j"
        return [
            "sbatch",
            f"--output={self.folder / f'{which}_0_log.out'}",
            str(submission_file_path),
        ]

    def _internal_process_submissions(self, delayed_submissions: Any) -> Any:
        """As submitit does it, with this class for the array too."""
        if len(delayed_submissions) == 1:
            return super()._internal_process_submissions(delayed_submissions)
        self.folder.mkdir(parents=True, exist_ok=True)
        files = []
        for number, delayed in enumerate(delayed_submissions):
            file = self.folder / f"{os.getpid()}-{number}.pkl"
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            delayed.dump(file)
            files.append(file)
        array = Executor(self.folder, self.max_num_timeout)
        array.parameters = {**self.parameters, "map_count": len(files)}
        first = array._submit_command(self._submitit_command_str)
        jobs = [
            self.job_class(self.folder, f"{first.job_id}_{number}") for number in range(len(files))
        ]
        for job, file in zip(jobs, files, strict=True):
            job.paths.move_temporary_file(file, "submitted_pickle")
        return jobs

    def preview(self, count: int) -> tuple[str, list[str]]:
        """The script and the command with which so many runs would be sent."""
        which = Executor(self.folder, self.max_num_timeout)
        which.parameters = {**self.parameters, **({"map_count": count} if count > 1 else {})}
        text = which._make_submission_file_text(self._submitit_command_str, "")
        return text, which._make_submission_command(Path("SCRIPT"))


def make_executor(sweep: Path, options: Mapping[str, Any]) -> Executor:
    """The executor that sends runs of a sweep, with the options of ``hydra.launcher``."""
    executor = Executor(sweep / ".submitit", max_num_timeout=options["max_num_timeout"])
    mem = options["mem_gb"]
    executor.update_parameters(
        **{name: options[name] for name in _AS_THEY_ARE},
        job_name=options["name"],
        time=options["timeout_min"],
        ntasks_per_node=options["tasks_per_node"],
        mem=None if mem is None else f"{round(mem * 1024)}M",
        setup=options["setup"] or None,
        # srun takes the number of cores from its own arguments alone; and when one process of a run has
        # failed, the others would wait for it.
        srun_args=[
            f"--cpus-per-task={options['cpus_per_task']}",
            "--kill-on-bad-exit=1",
            *options["srun_args"],
        ],
        additional_parameters={
            "requeue": True,
            **{name: value for name, value in options["additional"].items() if value is not False},
        },
        stderr_to_stdout=True,
        wckey=None,
    )
    return executor
