"""A sweep on this machine: killed runs, an interrupted launcher, resuming."""

import json
import os
import signal
import time

import pytest

QUICK = (
    "device=cpu", "logger=none", "trainer.args.per_device_train_batch_size=2", "trainer.args.logging_steps=1",
    "trainer.args.eval_steps=100", "trainer.args.save_steps=2", "trainer.args.load_best_model_at_end=false",
    "evaluation.draws=20", "evaluation.html=false",
    "evaluation.zero_shot=false", "task.dimensions=[pitch_dynamics,trait_embodiment]",
    "hydra.launcher.poll_seconds=0.2",
)  # fmt: skip


@pytest.fixture
def words(make_clips, tmp_path):
    """The arguments of a sweep in tmp_path/sweep, without the settings that vary."""
    data = [f"task.data.{split}={make_clips(split, 6)}" for split in ("train", "val")]
    return ["-m", *QUICK, *data, f"hydra.sweep.dir={tmp_path / 'sweep'}"]


def rows(tmp_path):
    return json.loads((tmp_path / "sweep" / "sweep.json").read_text())["runs"]


def wait_for_step(tmp_path, number, step):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        logs = list((tmp_path / "sweep").glob(f"{number}-*/train.log"))
        if logs and f"step {step} of" in logs[0].read_text():
            return logs[0].parent
        time.sleep(0.05)
    raise AssertionError(f"run {number} did not reach step {step} in time")


@pytest.mark.slow
def test_a_killed_run_resumes_and_does_not_affect_the_others(start_launch, launch, words, tmp_path):
    """The tests of the search and of SLURM resume runs that failed."""
    running = start_launch(*words, "trainer.args.max_steps=1,12", "hydra.launcher.parallel=2")
    folder = wait_for_step(tmp_path, 1, 3)
    os.kill(json.loads((folder / "state.json").read_text())["process"], signal.SIGKILL)
    done = running.wait()
    assert done.returncode == 1, done.stderr
    assert [row["state"] for row in rows(tmp_path)] == ["done", "failed"]
    assert rows(tmp_path)[1]["reason"].startswith("killed by SIGKILL, from outside")
    assert "1 of 2 runs did not finish" in done.stderr
    first = (tmp_path / "sweep" / rows(tmp_path)[0]["folder"] / "state.json").stat().st_mtime_ns

    again = launch(f"sweep={tmp_path / 'sweep'}", "resume=true")
    assert again.returncode == 0, again.stderr
    assert [row["state"] for row in rows(tmp_path)] == ["done", "done"]
    assert "Resuming from checkpoint-" in (folder / "train.log").read_text()
    # The finished run is not run again.
    kept = tmp_path / "sweep" / rows(tmp_path)[0]["folder"] / "state.json"
    assert kept.stat().st_mtime_ns == first
    for number, steps in enumerate((1, 12)):
        (made,) = (tmp_path / "sweep").glob(f"{number}-*")
        assert f"\n    max_steps: {steps}\n" in (made / "config.yaml").read_text()
        assert (made / "metrics.json").is_file()
    # The id is the same in the folder's name, the log, the environment and the table.
    row = rows(tmp_path)[1]
    assert folder.name == f"1-{row['id']}"
    assert f"Run {row['id']} in " in (folder / "train.log").read_text()
    assert json.loads((folder / "environment.json").read_text())["run_id"] == row["id"]


@pytest.mark.slow
def test_an_interrupted_launcher_lets_its_runs_save_a_checkpoint(start_launch, words, tmp_path):
    running = start_launch(
        *words, "trainer.args.max_steps=60", "seed=0,1", "hydra.launcher.parallel=1"
    )
    folder = wait_for_step(tmp_path, 0, 3)
    os.kill(running.pid, signal.SIGINT)  # without a terminal, no question is asked
    done = running.wait()
    assert done.returncode == 130, done.stderr
    assert "Asked to stop: saving a checkpoint" in (folder / "train.log").read_text()
    state = json.loads((folder / "state.json").read_text())
    assert state["reason"].startswith("stopped at step")
    step = state["reason"].rpartition(" ")[2]
    assert (folder / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").is_file()
    assert rows(tmp_path)[1]["state"] == "never started"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages=[report]"], "needs sweep=FOLDER"),
        (["resume=true"], "needs sweep=FOLDER"),
        (["sweep={}"], "needs stages=[report] for its table, or resume=true"),
        (["sweep={}", "stages=[report]"], "holds no sweep"),
        (["sweep={}", "resume=true", "seed=1"], "leave out seed=1"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_invalid_commands_about_a_sweep_are_refused_without_a_traceback(
    launch, tmp_path, words, message
):
    words = [word.format(tmp_path / "none") for word in words]

    done = launch(*words, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
