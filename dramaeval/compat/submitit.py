"""Private parts of submitit."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string, _parse_node_list


class Executor(SlurmExecutor):
    """submitit's executor for SLURM, which also accepts folders with special characters.

    Reaches: ``_make_submission_file_text``, ``_make_submission_command``, ``_internal_process_submissions`` and
    ``_submit_command`` of submitit's executors, and ``_make_sbatch_string``.
    Why: submitit writes the names of logs into lines of the script, where a newline in a name begins a command. Here
    the names are arguments of sbatch and a quoted argument of srun.
    Since: submitit 1.5.
    Remove when: submitit quotes the names of logs.
    """

    @classmethod
    def affinity(cls) -> int:
        """Return 2, "available"; the launcher has checked whether SLURM is installed."""
        return 2

    @classmethod
    def name(cls) -> str:
        """The name of the executor in submitit."""
        return "slurm"

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        """submitit's script; the name of the folder occurs only in a quoted argument of srun."""
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
        job = "%A_%a" if self.parameters.get("map_count") else "%j"
        log = self.folder / f"{job}_0_log.out"
        return ["sbatch", f"--output={log}", str(submission_file_path)]

    def _internal_process_submissions(self, delayed_submissions: Any) -> Any:
        """As submitit's method, but the array is an `Executor` of this class."""
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
        """The script and the command that submit a number of runs."""
        executor = Executor(self.folder, self.max_num_timeout)
        executor.parameters = {**self.parameters, **({"map_count": count} if count > 1 else {})}
        text = executor._make_submission_file_text(self._submitit_command_str, "")
        return text, executor._make_submission_command(Path("SCRIPT"))


def node_names(text: str) -> list[str]:
    """The names of the nodes in a compressed list, as in ``SLURM_JOB_NODELIST``.

    Reaches: ``submitit.slurm.slurm._parse_node_list``.
    Why: the alternative, ``scontrol show hostnames``, starts a process and needs SLURM on the node.
    Since: submitit 1.5.
    Remove when: submitit makes the function public.
    """
    return list(_parse_node_list(text))
