"""Several processes from the command line: by torchrun, by launch.py, one killed, another number to go on."""

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
    """The process of a rank, once it is there."""
    for child in psutil.Process(parent).children():
        if child.environ().get("RANK") == str(rank):
            return child
    return None


def killed_after(file, going):
    """Kill the second of two processes of a run once a file is there; what it said and its exit code."""
    deadline = time.monotonic() + 280
    while not file.is_file() and not going.is_over and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = psutil.Process(going.pid).children()
    # One lock for all: the process that started the others took it, and they are named in it.
    locked = holder_of(file.parents[2])
    named = sorted(one.process for one in locked.processes)
    assert named == sorted([going.pid, *(one.pid for one in workers)])
    os.kill(worker(going.pid, 1).pid, signal.SIGKILL)
    done = going.end(120)
    assert len(workers) == 2
    assert not any(one.is_running() for one in workers)
    return done.stdout + done.stderr, done.returncode


@pytest.mark.slow
def test_torchrun_and_processes(launch, start_launch, surroundings, make_clips, tmp_path):
    data = [f"task.data.{split}={make_clips(split, count)}" for split, count in
            (("train", 9), ("val", 3))]  # fmt: skip
    together, taken = tmp_path / "together", tmp_path / "taken over"
    torchrun = Path(sys.executable).with_name("torchrun")
    done = subprocess.run(
        [torchrun, "--nproc_per_node=2", "launch.py", *SETTINGS, *data, f"hydra.run.dir={together}"],
        cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((together / "environment.json").read_text())["processes"] == 2
    assert (together / "logs" / "rank-1.log").is_file()
    assert len((together / "predictions.jsonl").read_text().splitlines()) == 6

    words = [*SETTINGS, *data, f"hydra.run.dir={taken}"]
    begun = taken / "checkpoints" / "checkpoint-2" / "trainer_state.json"
    said, code = killed_after(begun, start_launch(*words, "processes=2"))
    assert code not in (0, None)
    assert "Process 1 of 2 was killed by SIGKILL; the others were stopped." in said
    assert not (taken / "model").exists()
    assert not (taken / NAME).exists()

    done = launch(*words, "processes=1", timeout=600)
    assert done.returncode == 0, done.stderr
    assert "was split over 2 processes; joining it" in done.stdout
    expected, found = (
        load_file(folder / "model" / "adapter_model.safetensors") for folder in (together, taken)
    )
    assert expected.keys() == found.keys()
    for key, weight in expected.items():
        assert float((found[key] - weight).abs().mean()) < 2e-4, key
    one, two = (
        [json.loads(line) for line in (folder / "predictions.jsonl").open(encoding="utf-8")]
        for folder in (together, taken)
    )
    assert [line["id"] for line in one] == [line["id"] for line in two]
