"""The wheel works without the checkout: console script, sweeps, the user's configs and the Python API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

pytestmark = pytest.mark.slow

SAMPLE = ROOT / "dramaeval" / "data" / "sample" / "realism"
SOURCES = ("dramaeval", "hydra_plugins", "configs")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "launch.py")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder with the installed wheel, which pip builds without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    wheel = [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder), str(copy)]
    subprocess.run(wheel, check=True)
    (file,) = folder.glob("*.whl")
    shutil.rmtree(copy)
    target = folder / "site"
    subprocess.run(
        [*pip, "install", *offline, "--no-compile", "--target", str(target), str(file)], check=True
    )
    return target


def run(installed: Path, folder: Path, *words: str) -> str:
    """The standard output of a command in a folder; PYTHONPATH has only the wheel."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        words, check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_help_lists_the_config_groups_of_the_wheel(installed, tmp_path):
    output = run(installed, tmp_path, str(installed / "bin" / "dramaeval"), "--help")
    assert "Usage: dramaeval [GROUP=CHOICE" in output
    assert "peft: adalora, dora, ia3, lora, none" in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_for_slurm_with_configs_and_data_in_the_folder_of_the_user(installed, tmp_path):
    lines = (SAMPLE / "test.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    records = [json.loads(line) for line in lines]
    for record in records:
        record["wav_path"] = str(SAMPLE / record["wav_path"])
    text = "\n".join(json.dumps(record) for record in records)
    (tmp_path / "clips.jsonl").write_text(text, encoding="utf-8")
    experiment = tmp_path / "my_configs" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text(
        "# @package _global_\nstages: [evaluate]\ntask: {data: {test: clips.jsonl}}\n"
    )

    words = ("-m", "--config-dir", "my_configs", "experiment=mine", "seed=0,1")
    slurm = ("hydra/launcher=slurm", "launch.check=true")
    output = run(installed, tmp_path, str(installed / "bin" / "dramaeval"), *words, *slurm)

    assert "#SBATCH --array=0-1%2" in output
    assert "2 runs, 1 process each" in output
    # clips.jsonl has been read.
    assert "The settings, files and records of all 2 runs are valid." in output


@pytest.mark.slow
def test_the_bundled_judge_scores_the_bundled_clip(installed, tmp_path):
    """Python API and command line run in one process, since imports take most of the time."""
    code = (
        "import sys, dramaeval; from dramaeval import Judge; judge = Judge.load('tiny')\n"
        "print(dramaeval.__file__, dramaeval.__version__, type(judge).__name__)\n"
        "from dramaeval.cli import main\n"
        "sys.argv = ['dramaeval', 'score', 'tiny', 'demo', 'output=scores.csv']\n"
        "main()"
    )
    output = run(installed, tmp_path, sys.executable, "-c", code)

    file, version, kind = output.splitlines()[0].split()
    assert Path(file) == installed / "dramaeval" / "__init__.py"
    assert (version, kind) == ("0.1.0", "Judge")
    assert "1 clip, 10 scores in" in output
    assert "emotion_accuracy" in output.rpartition("probability of each score")[2]
    assert len((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()) == 2
    assert len(list(tmp_path.glob("outputs/*/*/.hydra/config.yaml"))) == 1
