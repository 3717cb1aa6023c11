"""Runs of a sweep as forks of a process that has imported the libraries: which runs, their environment, their ends."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from hydra.core.hydra_config import HydraConfig

from dramaeval.launch import forked_run, job, local
from dramaeval.launch.forked_run import ForkedRun, can_fork
from dramaeval.launch.job import console_of
from dramaeval.launch.sweeps.folder import SweepRun


@pytest.mark.parametrize("name", ["nvidia0", "nvidia12", "kfd", "dxg"])
def test_runs_are_not_forked_where_a_gpu_is(tmp_path, name):
    assert can_fork(tmp_path) == (sys.platform == "linux")
    (tmp_path / name).touch()
    assert not can_fork(tmp_path)


def test_other_files_of_nvidia_are_no_gpu(tmp_path):
    (tmp_path / "nvidiactl").touch()
    assert can_fork(tmp_path) == (sys.platform == "linux")


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ("{}", False),
        ("{trainer: {args: {optim: sgd}}}", False),
        ("{quantization: {load_in_4bit: true}}", True),
        ("{checkpoint: run}", True),
        ("{trainer: {args: {optim: adamw_bnb_8bit}}}", True),
    ],
)
def test_a_run_that_may_need_compiled_functions_gets_a_new_process(folder_of, settings, needs):
    assert job.needs_new_process(folder_of(settings, "{}")) is needs


def test_a_run_with_variables_of_its_own_gets_a_new_process(folder_of):
    assert job.needs_new_process(folder_of("{}", "{hydra: {job: {env_set: {A: b}}}}"))


@pytest.fixture
def folder_of(tmp_path, monkeypatch):
    """Write the composed settings of a run, and Hydra's, as YAML; returns the folder."""
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def write(settings, of_hydra):
        (tmp_path / ".hydra").mkdir()
        (tmp_path / ".hydra" / "config.yaml").write_text(settings)
        (tmp_path / ".hydra" / "hydra.yaml").write_text(of_hydra)
        return tmp_path

    return write


def test_damaged_settings_are_left_to_a_new_process(folder_of):
    assert job.needs_new_process(folder_of("{}", "a: ["))


#: Writes what a run sees into its folder, and then does what the folder's name says.
PROBE = """
import json, os, signal, sys, time
from pathlib import Path

def main(folder):
    import torch
    seen = {"variables": {key: os.environ.get(key) for key in ("PROBE", "OTHER", "HF_HUB_DISABLE_TELEMETRY")},
            "threads": torch.get_num_threads(), "session": os.getsid(0) == os.getpid(),
            "trainer": "dramaeval.training.sft.trainer" in sys.modules, "process": os.getpid()}
    Path(folder, "seen.json").write_text(json.dumps(seen))
    print("printed", flush=True)
    name = Path(folder).name
    if name == "wait":
        time.sleep(60)
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit("not well" if name == "fails" else 0)
"""
START = """
import os, sys
from pathlib import Path
from dramaeval.launch import forked_run

if __name__ == "__main__":
    forked_run.LIBRARIES.append("patched")
    root, started = Path(sys.argv[1]), {}
    for name in sys.argv[2:]:
        (root / name).mkdir()
        environment = {**os.environ, "PROBE": name, "OMP_NUM_THREADS": "1"}
        del environment["OTHER"]
        started[name] = forked_run.ForkedRun(root / name, root / name / "console.log", environment)
    print({name: process.wait(300) for name, process in started.items() if name != "wait"})
    print(os.environ["OTHER"], flush=True)
    started["wait"].wait()
"""
#: Imported by the server after the libraries: the forks call the probe in place of a run.
PATCHED = "import probe\nfrom dramaeval.launch import job\njob.main = probe.main\njob.needs_new_process = lambda folder: False\n"


@pytest.mark.slow
def test_forks_have_their_environment_and_exit_code_and_end_with_a_killed_launcher(tmp_path):
    for name, text in (("probe", PROBE), ("start", START), ("patched", PATCHED)):
        (tmp_path / f"{name}.py").write_text(text)
    names = ("ends", "fails", "killed", "wait")
    output = tmp_path / "output"
    with output.open("w") as stream:
        launcher = subprocess.Popen(
            [sys.executable, "start.py", str(tmp_path), *names],
            cwd=tmp_path,
            env={**os.environ, "OTHER": "of the launcher", "HF_HUB_DISABLE_TELEMETRY": "1"},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    waiting = tmp_path / "wait" / "seen.json"

    def begun():
        return "of the launcher" in output.read_text() and waiting.is_file() and waiting.read_text()

    deadline = time.monotonic() + 300
    while not begun() and launcher.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "{'ends': 0, 'fails': 1, 'killed': -9}" in output.read_text()
    for name in names:
        seen = json.loads((tmp_path / name / "seen.json").read_text())
        expected = {"PROBE": name, "OTHER": None, "HF_HUB_DISABLE_TELEMETRY": "1"}
        assert seen["variables"] == expected
        assert seen["session"]
        assert seen["trainer"]  # the libraries are there before the run begins
        assert seen["threads"] == 1
        assert "printed" in (tmp_path / name / "console.log").read_text()
    assert "not well" in (tmp_path / "fails" / "console.log").read_text()

    fork = psutil.Process(json.loads(waiting.read_text())["process"])
    server = fork.parent()
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    _, running = psutil.wait_procs([fork, server], timeout=20)
    for process in running:
        process.kill()
    assert not running


def test_without_a_fork_server_each_run_is_a_new_process(monkeypatch, tmp_path, caplog):
    def refuse(*given):
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(local, "ForkedRun", refuse)
    monkeypatch.setattr(local, "command", lambda folder: [sys.executable, "-c", "print('new')"])
    runner = local.LocalJobRunner(parallel=1, gpus_per_run=None, poll_seconds=1)
    runner.forks = True
    run = SweepRun(number=0, id="a", folder=tmp_path, overrides=())
    assert runner._start(run, 0).wait(60) == 0
    assert console_of(tmp_path).read_text() == "new\n"
    assert "no fork server (AF_UNIX path too long)" in caplog.text
    assert not runner.forks


def test_a_wait_that_takes_too_long_says_so(monkeypatch):
    class Endless:
        exitcode = None

        def join(self, timeout):
            self.timeout = timeout

    process = object.__new__(ForkedRun)
    process._process = Endless()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert process._process.timeout == 0.5
    assert forked_run.command(tmp := "folder")[-1] == tmp
