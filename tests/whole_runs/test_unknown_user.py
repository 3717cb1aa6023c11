"""A run of a user whom the system does not know: no HOME, no entry among the users."""

import shutil
import subprocess
import sys

import pytest
from clips import write_clips
from repository import ROOT

pytestmark = pytest.mark.slow

UNKNOWN = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
WITHOUT = ["env", *(f"--unset={name}" for name in ("HOME", "USER", "LOGNAME", "DRAMAEVAL_CACHE"))]


def becomes_unknown():
    """Whether this machine lets a process become such a user."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run([*UNKNOWN, "id", "-un"], capture_output=True, text=True, check=False)
    return "54321" in done.stderr + done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not becomes_unknown(), reason="no user name spaces here")
def test_it_trains_and_logs_and_leaves_nothing_in_the_working_folder(offline_environment, tmp_path):
    file = write_clips(tmp_path, "clips", 4, seconds=(1.0,))
    temporary, working = tmp_path / "tmp", tmp_path / "work"
    temporary.mkdir()
    working.mkdir()
    done = subprocess.run(
        [
            *UNKNOWN, *WITHOUT, f"TMPDIR={temporary}", sys.executable, str(ROOT / "launch.py"),
            f"task.data.train={file}", "stages=[train]",
            "task.dimensions=[pitch_dynamics]", "trainer.args.max_steps=1",
            "logger=[tensorboard,wandb]", "logger.wandb.mode=offline",
            f"hydra.run.dir={tmp_path}/run",
        ],
        cwd=working, env=offline_environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").is_file()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))
    assert not list(working.iterdir())
    stand_in = temporary / "dramaeval-54321"
    assert f"{stand_in} is used instead" in done.stderr
    assert not (stand_in / ".cache" / "dramaeval").exists()
