"""What `dramaeval.compat.submitit` assumes about submitit; no job is submitted."""

import shlex

import pytest
from contracts import contract

pytest.importorskip("submitit", reason="pip install 'dramaeval[slurm]'")

from submitit.core.utils import DelayedSubmission

from dramaeval.compat import submitit as entries


@pytest.mark.parametrize("count", [1, 3])
def test_a_folder_name_with_a_newline_adds_no_line_to_the_script(tmp_path, count):
    folder = tmp_path / "a\nscontrol show config"
    executor = entries.Executor(folder)
    executor.update_parameters(srun_args=[], time=5)
    with contract(entries.Executor):
        script, command = executor.preview(count)
        assert not any(line.startswith("#SBATCH --output=") for line in script.splitlines())
        (srun,) = [line for line in shlex.split(script, comments=True) if "--output=" in line]
        assert srun.startswith(f"--output={folder}/")
        assert command[1].startswith(f"--output={folder}/")


def test_an_array_is_submitted_with_the_same_executor_class(tmp_path, monkeypatch):
    executor = entries.Executor(tmp_path)
    executor.update_parameters(srun_args=[], time=5)
    submitted = []

    def submit(self, command):
        submitted.append((type(self), self.parameters["map_count"]))
        return self.job_class(self.folder, "7")

    monkeypatch.setattr(entries.Executor, "_submit_command", submit)
    with contract(entries.Executor):
        jobs = executor._internal_process_submissions(
            [DelayedSubmission(int), DelayedSubmission(int)]
        )
        assert submitted == [(entries.Executor, 2)]
        assert [job.paths.submitted_pickle.is_file() for job in jobs] == [True, True]


def test_node_names_expands_ranges():
    with contract(entries.node_names):
        assert entries.node_names("gpu[1-2,07],login") == ["gpu1", "gpu2", "gpu07", "login"]
