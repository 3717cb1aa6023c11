"""Sweeps of real trainings on a real SLURM: failures, nodes, preemption, time-outs, kills, cancelling."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
import yaml
from clips import write_clips
from repository import ROOT
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.timeout(600)]


def weights(folder):
    return load_file(folder / "model" / "adapter_model.safetensors")


def equal_weights(one, other):
    return one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


def state_of(sweep, number=0):
    return json.loads((sweep.run_folder(number) / "state.json").read_text())


def log_of(sweep, number=0):
    return (sweep.run_folder(number) / "train.log").read_text()


@pytest.mark.slow
def test_runs_that_fail_or_are_killed_do_not_affect_the_others(sweep):
    """Three runs: one that finishes, one that is killed while it trains, and one whose setting is refused."""
    running = sweep.start("trainer.args.max_steps=2,60,none")
    sweep.wait_for(lambda: sweep.has_reached(1, 2))
    os.kill(state_of(sweep, 1)["process"], signal.SIGKILL)
    done = running.wait()
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    finished, killed, refused = sweep.rows
    assert [row["state"] for row in sweep.rows] == ["done", "failed", "failed"]
    metrics = json.loads((sweep.folder / finished["folder"] / "metrics.json").read_text())
    assert (
        finished["objective"]
        == finished["val_pearson"]
        == metrics["val"]["final"]["macro"]["pearson"]
    )
    assert killed["reason"].startswith("SLURM: FAILED, NonZeroExitCode, exit code ")
    assert "trainer.args.max_steps=none must be a whole number" in refused["reason"]
    for row in (killed, refused):
        assert row["folder"] in output.split("2 of 3 runs did not finish:")[1]
    # One array; SLURM saw the failing run fail.
    assert len({sweep.job_id(number).split("_")[0] for number in range(3)}) == 1
    sweep.wait_for(lambda: sweep.cluster.job(sweep.job_id(2))["JobState"] == "FAILED")
    # The table is written again from the folders of the runs.
    before = {name: (sweep.folder / name).read_text() for name in ("sweep.csv", "sweep.html")}
    for name in before:
        (sweep.folder / name).unlink()
    report = sweep.run_on_sweep("stages=[report]")
    assert report.returncode == 0, report.stdout
    assert {name: (sweep.folder / name).read_text() for name in before} == before


@pytest.mark.slow
def test_a_preempted_run_has_the_result_of_an_uninterrupted_one(sweep, tmp_path):
    """A job of the higher partition takes the nodes in the middle of training."""
    steps = "trainer.args.max_steps=16"
    running = sweep.start(steps, "hydra.launcher.partition=low", "hydra.launcher.timeout_min=60")
    sweep.wait_for(lambda: sweep.has_reached(0, 3))
    sweep.cluster.run(
        "sbatch", "-p", "high", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"
    )
    folder = sweep.run_folder(0)
    state = sweep.wait_for(
        lambda: (one := json.loads((folder / "state.json").read_text()))["preempted"] and one
    )
    assert state["state"] == "interrupted"
    at = int(state["reason"].removeprefix("stopped at step "))
    assert (folder / "checkpoints" / f"checkpoint-{at}" / "trainer_state.json").is_file()
    done = running.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    row = sweep.rows[0]
    assert (row["state"], row["preempted"], row["timed_out"]) == ("done", 1, 0)
    assert f"Resuming from checkpoint-{at}" in (folder / "train.log").read_text()
    assert "preempted 1 time" in done.stdout + done.stderr
    # The same run without SLURM and without an interruption.
    whole = sweep.run_command(
        *sweep.data, *sweep.quick, steps, f"hydra.run.dir={tmp_path / 'whole'}"
    )
    assert whole.returncode == 0, whole.stdout
    assert equal_weights(weights(folder), weights(tmp_path / "whole"))
    assert (folder / "predictions.jsonl").read_text() == (
        tmp_path / "whole" / "predictions.jsonl"
    ).read_text()


@pytest.mark.slow
def test_a_run_on_two_nodes_that_is_timed_out_too_often_fails_and_is_resumed(sweep):
    """SLURM's signal is sent early; with a limit of less than ten minutes submitit counts it as a time-out.

    Jobs are requeued in the test of preemption.
    """
    running = sweep.start(
        "trainer.args.max_steps=12", "hydra.launcher.timeout_min=9", "hydra.launcher.signal_delay_s=60",
        "hydra.launcher.max_num_timeout=0", "hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=1",
        "trainer.args.per_device_train_batch_size=1", "zero=zero2",
    )  # fmt: skip

    sweep.wait_for(lambda: "train: step" in log_of(sweep))
    sweep.cluster.run("scancel", "--signal=USR2", sweep.job_id(0))
    done = running.wait()
    assert done.returncode == 1, done.stdout
    assert "timed-out too many times" in sweep.rows[0]["reason"]
    assert "timed out 1 time" in done.stdout + done.stderr
    # With resume=true it continues from its checkpoint.
    resumed = sweep.run_on_sweep("resume=true")
    assert resumed.returncode == 0, resumed.stdout
    assert sweep.rows[0]["state"] == "done"
    log = log_of(sweep)
    assert log.count("Resuming from checkpoint-") == 1
    assert sweep.run_on_sweep("resume=true").returncode == 0
    # Each node ran one of the two processes.
    assert sweep.cluster.job(sweep.job_id(0))["NodeList"] == "first,second"
    assert "12 of 2 clips: 1 a pass, 1 accumulated, 2 processes" in log
    assert "(ZeRO stage 2)" in log
    folder = sweep.run_folder(0)
    assert json.loads((folder / "environment.json").read_text())["processes"] == 2
    assert (folder / "logs" / "rank-1.log").is_file()


@pytest.mark.slow
def test_shards_of_which_one_is_killed_and_resumed_are_joined_without_duplicates(sweep, tmp_path):
    """Two shards run as a job array; the second is killed after its first predictions."""
    clips = write_clips(tmp_path, "input", 120, seconds=(0.2,))
    score = [
        "stages=[score]", f"input={clips}", "task.dimensions=[pitch_dynamics]", "device=cpu",
        "logger=none", "cache.enabled=false", "batch.eval_clips=1",
    ]  # fmt: skip
    shards = ["shards=2", "hydra/launcher=slurm_cpu", *sweep.small]
    running = sweep.start_command(*score, *shards, f"hydra.sweep.dir={sweep.folder}")

    def scored(number):
        text = (sweep.run_folder(number) / "predictions.jsonl").read_text(encoding="utf-8")
        return text.split("\n")[:-1]

    sweep.wait_for(lambda: scored(1))
    os.kill(state_of(sweep, 1)["process"], signal.SIGKILL)
    done = running.wait()
    assert done.returncode == 1, done.stdout + done.stderr
    assert [row["state"] for row in sweep.rows] == ["done", "failed"]
    before = len(scored(1))
    assert 0 < before < 60
    joined = sweep.folder / "predictions.jsonl"
    assert not joined.exists()

    resumed = sweep.run_on_sweep("resume=true")
    assert resumed.returncode == 0, resumed.stdout
    assert "120 clips, joined from 2 shards" in resumed.stdout
    assert f"{before} of 60 clips were scored before" in log_of(sweep, 1)
    assert [len(scored(number)) for number in (0, 1)] == [60, 60]
    whole = sweep.run_command(*score, f"hydra.run.dir={tmp_path / 'whole'}")
    assert whole.returncode == 0, whole.stdout
    assert joined.read_text() == (tmp_path / "whole" / "predictions.jsonl").read_text()


@pytest.mark.slow
def test_a_detached_run_with_a_gpu_in_a_folder_with_a_hostile_name(sweep, tmp_path):
    """The folder and a setting contain blanks, quotes, a dollar sign, and a line that would be a shell command."""
    name = 'it\'s $(touch hurt) "so";\ntouch hurt #'
    sweep.folder = tmp_path / name
    setting = name.replace("'", "\\'")
    done = sweep.run(
        "stages=[evaluate]", f"task.system='{setting}'", "launch.detach=true", "hydra.launcher.gpus_per_node=1",
        "hydra.launcher.setup=['echo GPUs: $CUDA_VISIBLE_DEVICES']", launcher="slurm",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "1 runs are submitted" in done.stdout
    assert sweep.rows[0]["state"] in ("waiting", "running")
    report = sweep.run_on_sweep("stages=[report]")
    assert report.returncode == 0, report.stdout
    assert "PENDING" in report.stdout or "RUNNING" in report.stdout
    # The launcher has ended, so the run itself updates the table.
    sweep.wait_for(lambda: sweep.rows[0]["state"] == "done")
    assert "gres:gpu:1" in str(sweep.cluster.job(sweep.job_id(0)))
    assert "GPUs: 0" in (sweep.folder / ".submitit" / f"{sweep.job_id(0)}_0_log.out").read_text()
    config = yaml.safe_load((sweep.run_folder(0) / "config.yaml").read_text(encoding="utf-8"))
    assert config["task"]["system"] == name
    assert not list(tmp_path.rglob("hurt"))
    assert not (ROOT / "hurt").exists()


@pytest.mark.slow
def test_ctrl_c_asks_before_it_cancels_the_jobs(sweep):
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [
            sys.executable, "launch.py",
            *sweep.arguments("trainer.args.max_steps=40", "seed=0,1", "hydra.launcher.array_parallelism=1"),
        ],
        cwd=ROOT, env={**sweep.environment, "TERM": "xterm", "COLUMNS": "200"},
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    output = b""

    def read_until(text, seconds=240):
        nonlocal output
        deadline = time.monotonic() + seconds
        while text not in output and time.monotonic() < deadline:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    output += os.read(master, 65536)
                except OSError:
                    break
        assert text in output, output[-3000:].decode(errors="replace")

    sweep.wait_for(lambda: sweep.has_reached(0, 2))
    read_until(b"running")
    running.send_signal(signal.SIGINT)
    read_until(b"[c]ancel the jobs, [l]eave them running")
    os.write(master, b"c\n")
    read_until(b"The runs were stopped.")
    assert running.wait(timeout=120) == 130
    os.close(master)
    sweep.wait_for(lambda: sweep.cluster.job(sweep.job_id(0))["JobState"] == "CANCELLED")
    report = sweep.run_on_sweep("stages=[report]")
    stopped_run, waiting_run = sweep.rows
    assert waiting_run["state"] == "never started", report.stdout
    assert stopped_run["state"] == "failed"
    assert "CANCELLED" in stopped_run["reason"]
    # The run had the time to save a checkpoint.
    assert "Asked to stop: saving a checkpoint" in (sweep.run_folder(0) / "train.log").read_text()


@pytest.mark.slow
def test_the_error_of_sbatch_is_shown_unchanged(sweep):
    done = sweep.run("hydra.launcher.partition=none")
    assert done.returncode == 1
    assert "sbatch refuses: sbatch: error: invalid partition specified: none" in done.stdout
    assert "Traceback" not in done.stdout
