"""What the README says is what works: its extension section is carried out word by word."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from repository import ROOT

SHORT = (
    "evaluation.zero_shot=false", "task.dimensions=[pitch_dynamics]", "trainer.args.num_generations=2",
    "batch.per_device=2",
)  # fmt: skip
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(marker):
    return re.findall(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)


def test_ci_runs_the_readmes_commands():
    first, second = re.findall(r"```bash\n(pip install .*?)\n```", README)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet", "")
    assert first in script
    assert f"\n{second}\n" in script


@pytest.mark.parametrize("by_reward", [False, True])
def test_the_extension_section_works(surroundings, make_clips, tmp_path, by_reward):
    named = re.findall(r"<!-- file: (.*?) -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert len(named) == 3
    for name, text in named:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (command,) = blocks("command")
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:2] == ["python", "launch.py"]
    words = [str(tmp_path / "mine") if word == "mine" else word for word in words[2:]]
    data = [f"task.data.{split}={make_clips(split, 6)}" for split in ("train", "val", "test")]
    (rewarded,) = blocks("reward")
    if by_reward:
        words = [*shlex.split(rewarded)[2:], *SHORT]
    done = subprocess.run(
        [
            sys.executable, "launch.py", *words, *data, f"hydra.run.dir={tmp_path / 'run'}",
            "trainer.args.max_steps=2", "trainer.args.logging_steps=1", "evaluation.draws=20",
        ],
        cwd=ROOT,
        env={**surroundings, "PYTHONPATH": f"{surroundings['PYTHONPATH']}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if by_reward:
        assert "0.1 × generous" in (tmp_path / "run" / "train.log").read_text()
        return
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    found = metrics["test"]["final"]["dimensions"]
    assert list(found) == ["warmth"]
    assert 0 <= found["warmth"]["within_one"] <= 1
    config = json.loads((tmp_path / "run" / "model" / "adapter_config.json").read_text())
    assert config["peft_type"] == "LOHA"
    assert "confident" in (tmp_path / "run" / "config.yaml").read_text()
