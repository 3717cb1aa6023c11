"""Fixtures of sweeps on a private SLURM cluster. Their tests are skipped if its packages are not installed."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clips import write_clips
from launch_fixtures import RunningLaunch
from private_slurm import PrivateSlurm, missing
from repository import ROOT

#: Short trainings on few clips.
QUICK = (
    "device=cpu",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.logging_steps=1",
    "trainer.args.eval_steps=2",
    "trainer.args.save_steps=2",
    "evaluation.draws=20",
    "evaluation.html=false",
    "evaluation.zero_shot=false",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "logger=none",
)
#: One core per process, so that several jobs fit on the two nodes.
SMALL = (
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.poll_seconds=0.5",
    "hydra.launcher.array_parallelism=2",
)


@pytest.fixture(scope="session")
def slurm() -> Iterator[PrivateSlurm]:
    """A running SLURM cluster."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as folder:
        cluster = PrivateSlurm(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


class Sweep:
    """Runs ``python launch.py …`` with the cluster, and reads the sweep folder that it writes.

    The commands run in forked processes that have the libraries loaded; SLURM's jobs start Python anew.
    """

    quick, small = QUICK, SMALL

    def __init__(
        self,
        cluster: PrivateSlurm,
        folder: Path,
        data: list[str],
        launch: Callable[..., subprocess.CompletedProcess[str]],
        start_launch: Callable[..., RunningLaunch],
    ) -> None:
        self.cluster, self.folder, self.data = cluster, folder, data
        self._launch, self._start_launch = launch, start_launch

    @property
    def environment(self) -> dict[str, str]:
        added = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return {**self.cluster.environment, **added}

    @property
    def quoted(self) -> str:
        """The sweep folder, quoted as a value for Hydra."""
        return "'{}'".format(str(self.folder).replace("\\", "\\\\").replace("'", "\\'"))

    def arguments(self, *arguments: str, launcher: str = "slurm_cpu") -> list[str]:
        """The arguments of launch.py for a new sweep."""
        return [
            "-m", f"hydra/launcher={launcher}", *SMALL, *QUICK, *self.data,
            f"hydra.sweep.dir={self.quoted}", *arguments,
        ]  # fmt: skip

    def start(self, *arguments: str, **options: Any) -> RunningLaunch:
        """Start the sweep and return at once."""
        return self.start_command(*self.arguments(*arguments, **options))

    def start_command(self, *arguments: str) -> RunningLaunch:
        """Start any command of launch.py and return at once."""
        return self._start_launch(*arguments, environment=self.environment)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the sweep to its end."""
        return self.run_command(*self.arguments(*arguments, **options))

    def run_on_sweep(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command about the finished or interrupted sweep, such as resume=true, to its end."""
        return self.run_command(f"sweep={self.quoted}", *arguments)

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run any command of launch.py to its end; its stderr is appended to stdout."""
        done = self._launch(*arguments, environment=self.environment, timeout=400)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout + done.stderr)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The runs in the table of the sweep."""
        return json.loads((self.folder / "sweep.json").read_text(encoding="utf-8"))["runs"]

    def run_folder(self, number: int) -> Path:
        """The folder of the run with this number."""
        (found,) = self.folder.glob(f"{number}-*")
        return found

    def job_id(self, number: int) -> str:
        """SLURM's job id of the run with this number."""
        return json.loads((self.run_folder(number) / "slurm.json").read_text())["job"]

    def wait_for(self, condition: Callable[[], Any], seconds: float = 240) -> Any:
        """Wait until ``condition`` returns a true value, and return that. A missing file counts as false."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except (OSError, ValueError):
                pass
            time.sleep(0.1)
        logs = [log.read_text()[-3000:] for log in self.folder.glob(".submitit/*.out")]
        raise AssertionError("\n".join(["not within the time:", *logs]))

    def has_reached(self, number: int, at: int, after: int = 0) -> bool:
        """Whether the log of a run reports the step ``at``; the first ``after`` characters are left out."""
        return f"step {at} of" in (self.run_folder(number) / "train.log").read_text()[after:]


@pytest.fixture
def sweep(
    slurm: PrivateSlurm,
    tmp_path: Path,
    launch: Callable[..., subprocess.CompletedProcess[str]],
    start_launch: Callable[..., RunningLaunch],
) -> Sweep:
    """A sweep with data of 10 and 6 clips that is not started yet."""
    data = [
        f"task.data.{split}={write_clips(tmp_path, split, count, seed=seed)}"
        for seed, (split, count) in enumerate({"train": 10, "val": 6}.items())
    ]
    return Sweep(slurm, tmp_path / "sweep", data, launch, start_launch)


@pytest.fixture(autouse=True)
def not_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove SLURM's variables, since the tests may themselves run in a SLURM job."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")):
            monkeypatch.delenv(name)
