"""A second run in a folder in use is refused before it writes anything; the error names the first process."""

import json
import os
import re
import time

import forked_python
import pytest
from clips import write_clips
from repository import ROOT

from dramaeval.distributed.folder_lock import locked
from dramaeval.distributed.lock_holder import NAME, holder_of

pytestmark = pytest.mark.slow


def content(folder):
    return {one: one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.run.dir={}", "seed=5"],
        ["hydra.run.dir={}", "stages=[score]", "checkpoint=x", "input=y"],
        ["hydra.run.dir={}", "stages=[report]", "runs=[x,y]"],
        ["hydra.run.dir={}", "processes=2"],
        ["-m", "hydra.sweep.dir={}", "seed=0,1"],
        ["-m", "hydra.sweep.dir={}", "hydra/sweeper=optuna", "search=lora"],
        ["sweep={}", "resume=true", "hydra.run.dir={}-command"],
        ["sweep={}", "resume=true", "launch.trust=true", "hydra.run.dir={}-command"],
    ],
    ids=" ".join,
)
def test_a_second_command_in_a_folder_changes_nothing_and_names_the_process(
    launch, tmp_path, words
):
    folder = tmp_path / "folder"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("seed: 0\n")
    (folder / "multirun.yaml").write_text("seed: 0\n")
    with locked(folder):
        before = content(folder)
        done = launch(*(word.format(folder) for word in words))
        assert content(folder) == before
    assert done.returncode == 1
    message = done.stderr.strip()
    assert re.fullmatch(rf"{folder} is in use by process {os.getpid()} on \S+, since .*", message)
    assert "hydra.sweep.dir=" in message if "-m" in words else "Wait until it ends" in message


def test_a_second_job_of_a_run_changes_nothing_and_names_the_process(run_python, tmp_path):
    with locked(tmp_path):
        before = content(tmp_path)
        done = run_python("-m", "dramaeval.launch.job", str(tmp_path))
        assert content(tmp_path) == before
    assert done.returncode == 1
    assert f"in use by process {os.getpid()} on" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_locks_its_folder_from_start_to_end(launch, forkserver, tmp_path, tmp_path_factory):
    folder, output = tmp_path / "run", tmp_path_factory.mktemp("output")
    data = [f"task.data.{split}={write_clips(tmp_path, split, 4)}" for split in ("train", "val")]
    words = [
        *data, "trainer.args.max_steps=2", "evaluation.draws=20", "evaluation.html=false", "evaluation.zero_shot=false",
        "task.dimensions=[pitch_dynamics]", f"hydra.run.dir={folder}", "logger=none",
    ]  # fmt: skip
    first = forkserver.Process(
        target=forked_python.run,
        args=(("launch.py", *words, "trainer.args.learning_rate=0.01"), str(output), str(ROOT)),
    )
    first.start()
    deadline = time.monotonic() + 60
    while not (folder / NAME).is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = launch(*words, "trainer.args.learning_rate=0.02")
    assert second.returncode == 1
    assert f"in use by process {first.pid} on" in second.stderr
    first.join(300)
    assert first.exitcode == 0, (output / "err").read_text()
    assert "learning_rate: 0.01\n" in (folder / "config.yaml").read_text()
    assert "learning_rate=0.01" in (folder / ".hydra" / "overrides.yaml").read_text()
    assert json.loads((folder / "metrics.json").read_text())["val"]
    assert holder_of(folder) is None
    assert not (folder / NAME).exists()
