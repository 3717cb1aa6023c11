"""Sweeps on a private SLURM; skipped, with the reason, where its packages are not installed."""

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
from launch_fixtures import Going
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
#: One core a process, so that several jobs find room on the two nodes.
SMALL = (
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=1",
    "hydra.launcher.poll_seconds=0.5",
    "hydra.launcher.array_parallelism=2",
)


@pytest.fixture(scope="session")
def slurm() -> Iterator[PrivateSlurm]:
    """A running cluster."""
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
    """``python launch.py …`` against the cluster, and the folder that it fills.

    The commands run in processes that have the libraries loaded; the jobs that SLURM starts are new Pythons.
    """

    quick, small = QUICK, SMALL

    def __init__(
        self,
        cluster: PrivateSlurm,
        folder: Path,
        data: list[str],
        launch: Callable[..., subprocess.CompletedProcess[str]],
        start_launch: Callable[..., Going],
    ) -> None:
        self.cluster, self.folder, self.data = cluster, folder, data
        self._launch, self._start_launch = launch, start_launch

    @property
    def environment(self) -> dict[str, str]:
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return {**self.cluster.environment, **own}

    @property
    def quoted(self) -> str:
        """The folder as a value for Hydra, whatever its name."""
        return "'{}'".format(str(self.folder).replace("\\", "\\\\").replace("'", "\\'"))

    def words(self, *words: str, launcher: str = "slurm_cpu") -> list[str]:
        """The arguments of launch.py for a new sweep."""
        return [
            "-m", f"hydra/launcher={launcher}", *SMALL, *QUICK, *self.data,
            f"hydra.sweep.dir={self.quoted}", *words,
        ]  # fmt: skip

    def start(self, *words: str, **options: Any) -> Going:
        """Begin, and come back."""
        return self._start_launch(*self.words(*words, **options), environment=self.environment)

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Go on to the end."""
        return self.go(*self.words(*words, **options))

    def again(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command about this sweep."""
        return self.go(f"sweep={self.quoted}", *words)

    def go(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Any command of launch.py, to its end; stdout has its stderr too."""
        done = self._launch(*words, environment=self.environment, timeout=400)
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout + done.stderr)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table's runs."""
        return json.loads((self.folder / "sweep.json").read_text(encoding="utf-8"))["runs"]

    def run_folder(self, number: int) -> Path:
        """The folder of a run."""
        (found,) = self.folder.glob(f"{number}-*")
        return found

    def job(self, number: int) -> str:
        """SLURM's number of a run."""
        return json.loads((self.run_folder(number) / "slurm.json").read_text())["job"]

    def until(self, true: Callable[[], Any], seconds: float = 240) -> Any:
        """Wait for something; a table or folder that is not there yet is not it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := true():
                    return found
            except (OSError, ValueError):
                pass
            time.sleep(0.1)
        logs = [log.read_text()[-3000:] for log in self.folder.glob(".submitit/*.out")]
        raise AssertionError("\n".join(["not within the time:", *logs]))

    def step(self, number: int, at: int, after: int = 0) -> bool:
        """Whether a run's log has come to a step, ``after`` so many characters."""
        return f"step {at} of" in (self.run_folder(number) / "train.log").read_text()[after:]


@pytest.fixture
def sweep(
    slurm: PrivateSlurm,
    tmp_path: Path,
    launch: Callable[..., subprocess.CompletedProcess[str]],
    start_launch: Callable[..., Going],
) -> Sweep:
    """A sweep to be."""
    data = [
        f"task.data.{split}={write_clips(tmp_path, split, count, seed=seed)}"
        for seed, (split, count) in enumerate({"train": 10, "val": 6}.items())
    ]
    return Sweep(slurm, tmp_path / "sweep", data, launch, start_launch)


@pytest.fixture(autouse=True)
def not_in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may themselves run under SLURM or torchrun."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")):
            monkeypatch.delenv(name)
