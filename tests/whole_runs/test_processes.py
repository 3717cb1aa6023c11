"""Training with two processes, started by torchrun and by launch.py; a killed one is resumed with one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from repository import ROOT
from safetensors.torch import load_file

from dramaeval.data.manifest import NAME as MANIFEST
from dramaeval.distributed.lock_holder import NAME, holder_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]  # three runs, of two processes and of one

SETTINGS = (
    "zero=zero2", "device=cpu", "batch.global=4", "batch.per_device=1", "evaluation.zero_shot=false",
    "task.dimensions=[pitch_dynamics,trait_embodiment]", "trainer.args.max_steps=6",
    "trainer.args.eval_steps=3", "trainer.args.save_steps=2", "trainer.args.logging_steps=1",
    "trainer.args.load_best_model_at_end=false", "evaluation.draws=20", "evaluation.html=false",
)  # fmt: skip


def worker(parent, rank):
    """The process of this rank, or None if it is not started yet."""
    for child in psutil.Process(parent).children():
        if child.environ().get("RANK") == str(rank):
            return child
    return None


def is_sealed(folder):
    """Whether a checkpoint is complete; the trainer's state is written before the last of its files."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["finished"]
    except OSError:
        return False


def killed_after(checkpoint, running):
    """Kill the second of a run's two processes once a checkpoint is complete; return the run's output and exit code."""
    deadline = time.monotonic() + 280
    while not is_sealed(checkpoint) and not running.has_ended and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = psutil.Process(running.pid).children()
    # The process that started the others holds the lock of the folder, and the lock names all three.
    locked = holder_of(checkpoint.parents[1])
    named = sorted(one.process for one in locked.processes)
    assert named == sorted([running.pid, *(one.pid for one in workers)])
    os.kill(worker(running.pid, 1).pid, signal.SIGKILL)
    done = running.wait(120)
    assert len(workers) == 2
    assert not any(each.is_running() for each in workers)
    return done.stdout + done.stderr, done.returncode


@pytest.mark.slow
def test_a_killed_run_of_two_processes_is_resumed_by_one_with_the_result_of_torchrun(
    launch, start_launch, offline_environment, make_clips, tmp_path
):
    data = [f"task.data.{split}={make_clips(split, count)}" for split, count in
            (("train", 9), ("val", 3))]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    torchrun = Path(sys.executable).with_name("torchrun")
    done = subprocess.run(
        [torchrun, "--nproc_per_node=2", "launch.py", *SETTINGS, *data, f"hydra.run.dir={whole}"],
        cwd=ROOT, env=offline_environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((whole / "environment.json").read_text())["processes"] == 2
    assert (whole / "logs" / "rank-1.log").is_file()
    assert len((whole / "predictions.jsonl").read_text().splitlines()) == 6

    words = [*SETTINGS, *data, f"hydra.run.dir={killed}"]
    first_checkpoint = killed / "checkpoints" / "checkpoint-2"
    output, code = killed_after(first_checkpoint, start_launch(*words, "processes=2"))
    assert code not in (0, None)
    assert "Process 1 of 2 was killed by SIGKILL; the others were stopped." in output
    assert not (killed / "model").exists()
    assert not (killed / NAME).exists()

    done = launch(*words, "processes=1", timeout=600)
    assert done.returncode == 0, done.stderr
    assert "was split over 2 processes; joining it" in done.stdout
    expected, found = (
        load_file(folder / "model" / "adapter_model.safetensors") for folder in (whole, killed)
    )
    assert expected.keys() == found.keys()
    for key, weight in expected.items():
        assert float((found[key] - weight).abs().mean()) < 2e-4, key
    one, two = (
        [json.loads(line) for line in (folder / "predictions.jsonl").open(encoding="utf-8")]
        for folder in (whole, killed)
    )
    assert [line["id"] for line in one] == [line["id"] for line in two]
