"""Fixtures that run launch.py in processes of their own, without a network."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.context
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forked_python
import pytest
from repository import ROOT

from dramaeval.distributed.spawn import environment

#: Modules that the fork server imports once, including those that a run would import only when it needs them.
LIBRARIES = [
    "dramaeval.cli",
    "dramaeval.launch.worker",
    "dramaeval.launch.sweeps.pruning",
    "dramaeval.stages.pipeline",
    "dramaeval.stages.train",
    "dramaeval.stages.evaluate",
    "dramaeval.stages.report_html",
    "dramaeval.training.sft.trainer",
    "dramaeval.training.grpo.trainer",
    "dramaeval.models.families.qwen2_audio",
    "transformers.models.qwen2_audio.modeling_qwen2_audio",
    "transformers.tokenization_mistral_common",
    "scipy.stats",
    "sklearn.linear_model",
    "torch.utils.tensorboard",
    "preloaded",
]
# Every Python process that has this module on its path imports it. It refuses connections to other machines and writes
# each attempt as a line of a file beside it, also an attempt in a thread whose error the library hides.
BLOCK_NETWORK = """
import os, socket, sys
HERE = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "", None, socket.gethostname())
FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attempts")
def _refuse(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if given[0].family == socket.AF_UNIX or given[1] is None:
            return
        host = given[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = given[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host in HERE:
        return
    with open(FILE, "a") as file:
        file.write(f"{event} {host}\\n")
    raise OSError(f"the run tried to reach {host}")
sys.addaudithook(_refuse)
"""


@pytest.fixture(scope="session")
def offline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the module that blocks the network, and of the file that lists the attempts to use it."""
    folder = tmp_path_factory.mktemp("offline")
    (folder / "sitecustomize.py").write_text(BLOCK_NETWORK, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def connection_attempts(offline_folder: Path) -> Callable[[], list[str]]:
    """A function that returns the attempts to reach another machine since its last call."""
    file = offline_folder / "attempts"

    def since() -> list[str]:
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        file.unlink(missing_ok=True)
        return lines

    return since


@pytest.fixture(scope="session")
def offline_environment(offline_folder: Path) -> dict[str, str]:
    """Environment variables with which a process cannot use the network."""
    # If CI is set, TRL sends no usage data, and the tests could not detect that a program lets it send some.
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    return {**inherited, "PYTHONPATH": str(offline_folder)}


@pytest.fixture(scope="session")
def forkserver(offline_environment: dict[str, str]) -> multiprocessing.context.ForkServerContext:
    """A multiprocessing context whose processes have the libraries loaded, which saves most time of a short run.

    Tests of the start itself (torchrun, imports of --help, the README's commands) start a new Python instead.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in offline_environment.items():
            patched.setenv(name, value)
        patched.delenv("CI", raising=False)
        # The tests may themselves run under SLURM.
        for name in offline_environment:
            if name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_")):
                patched.delenv(name)
        # So that the server finds the module `preloaded`, which removes this folder from the path again.
        patched.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        first = context.Process(target=int)  # the server is started by its first process
        first.start()
        first.join()
    return context


@pytest.fixture(scope="session")
def run_python(
    forkserver: multiprocessing.context.ForkServerContext,
    connection_attempts: Callable[[], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python command to its end; fail if it tries to reach a machine that is not in ``allowed_hosts``."""
    output = tmp_path_factory.mktemp("output")

    def start(
        *words: str,
        folder: Path = ROOT,
        environment: Mapping[str, str] | None = None,
        timeout: float = 300,
        allowed_hosts: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        process = forkserver.Process(
            target=forked_python.run, args=(words, str(output), str(folder), environment)
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(words), timeout)
        assert [
            line for line in connection_attempts() if line.split()[-1] not in allowed_hosts
        ] == []
        stdout, err = ((output / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return subprocess.CompletedProcess(list(words), process.exitcode, stdout, err)

    return start


@pytest.fixture(scope="session")
def launch(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run launch.py to its end."""
    return partial(run_python, "launch.py")


class RunningLaunch:
    """A process that runs launch.py."""

    def __init__(self, process: BaseProcess, output: Path) -> None:
        self.process, self.output = process, output

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def stdout(self) -> str:
        """The text that it has written to stdout so far."""
        file = self.output / "out"
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.exitcode is not None

    def wait(self, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        """Wait until the process ends, and return its output."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, "the run did not end"
        err = (self.output / "err").read_text(encoding="utf-8")
        return subprocess.CompletedProcess(["launch.py"], self.process.exitcode, self.stdout, err)


@pytest.fixture
def start_launch(
    forkserver: multiprocessing.context.ForkServerContext,
    connection_attempts: Callable[[], list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., RunningLaunch]]:
    """Start launch.py and return at once, for runs that a test interrupts or watches."""
    started = []

    def start(*words: str, environment: Mapping[str, str] | None = None) -> RunningLaunch:
        output = tmp_path_factory.mktemp("output")
        process = forkserver.Process(
            target=forked_python.run,
            args=(("launch.py", *words), str(output), str(ROOT), environment),
        )
        process.start()
        started.append(process)
        return RunningLaunch(process, output)

    yield start
    for process in started:
        process.kill()
        process.join()
    assert connection_attempts() == []


@pytest.fixture(scope="session")
def run_group(
    forkserver: multiprocessing.context.ForkServerContext,
) -> Callable[..., None]:
    """Run a Python command in a distributed group of processes; rank N writes its output to ``rank-N`` of the folder."""

    def start(count: int, folder: Path, *words: object, timeout: float = 1500) -> None:
        shared = {**environment(count), "OMP_NUM_THREADS": "1"}
        processes = []
        for rank in range(count):
            output = folder / f"rank-{rank}"
            output.mkdir(parents=True)
            of_rank = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(
                forkserver.Process(
                    target=forked_python.run,
                    args=([*map(str, words)], str(output), str(ROOT), of_rank),
                )
            )
        try:
            for process in processes:
                process.start()
            deadline = time.monotonic() + timeout
            for process in processes:
                process.join(max(0, deadline - time.monotonic()))
        finally:
            for process in processes:
                process.kill()
        logs = [(folder / f"rank-{rank}" / "err").read_text() for rank in range(count)]
        assert [process.exitcode for process in processes] == [0] * count, [
            each[-3000:] for each in logs
        ]

    return start


@pytest.fixture
def read_metrics() -> Callable[[Path], dict[str, Any]]:
    """The metrics.json of a run folder."""
    return lambda folder: json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
