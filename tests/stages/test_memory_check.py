"""A run that needs more memory than the machine has is refused before any weights load."""

import json
import re
import types

import pytest
from clips import write_clips
from transformers import AutoTokenizer

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.distributed.processes import SINGLE_PROCESS
from dramaeval.models.families import base as loading
from dramaeval.models.planning import machine
from dramaeval.stages.pipeline import run_in_process

MIB = 2**20
#: A text that takes most of the 8,192 positions of the tiny judge.
TRANSCRIPT = "seven words of a very long transcript " * 400


@pytest.fixture
def attempt(composed, tmp_path, monkeypatch):
    """A function that starts a run on a machine with ``memory`` bytes; loading weights is an error."""

    def start(memory, *overrides):
        file = write_clips(tmp_path, "train", 2)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        lines[1]["transcript"] = TRANSCRIPT
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        total = types.SimpleNamespace(total=memory)
        monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: total)
        monkeypatch.setattr(loading.Family, "load", None)
        config = composed(f"task.data.train={file}", f"task.data.test={file}", *overrides)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        return run_in_process(config, folder, SINGLE_PROCESS, lambda *_: ()), (
            folder / "train.log"
        ).read_text()

    return start


def test_a_transcript_too_long_for_the_memory_is_refused_and_named(attempt, tmp_path):
    with pytest.raises(ConfigError) as raised:
        attempt(300 * MIB, "stages=[train]")
    (problem,) = raised.value.problems
    transcript_tokens = len(
        AutoTokenizer.from_pretrained(PACKAGE / "models" / "tiny")(TRANSCRIPT).input_ids
    )
    longest = int(re.search(r"has ([\d,]+) tokens", problem)[1].replace(",", ""))
    assert transcript_tokens < longest < transcript_tokens + 500
    for part in (
        "of memory, and this machine has 300.0 MiB",
        "Most of it is for the activations",
        f"record train-1 ({tmp_path / 'train.jsonl'}:2), has ",
        "plan_force=true",
        "batch.per_device",
    ):
        assert part in problem
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("batch", "cause"),
    [
        (["batch.eval_clips=1", "task.dimensions=[pitch_dynamics]"], "weights: choose a smaller"),
        ([], r"activations: .*test.jsonl:\d+\), has \d+ tokens; .*lower batch.eval_clips"),
    ],
)
def test_memory_of_scoring_is_checked_too(attempt, batch, cause):
    sample = ("task.data.train=null", "task.data.test=null")
    with pytest.raises(ConfigError, match=f"Most of it is for the {cause}"):
        attempt(10 * MIB, "stages=[evaluate]", *sample, *batch)


def test_plan_true_warns_of_too_little_memory(attempt):
    result, log = attempt(10 * MIB, "plan=true")
    assert result is None
    assert "this machine has 10.0 MiB" in log


def test_plan_force_starts_the_run_with_a_warning(attempt, tmp_path):
    _, log = attempt(10 * MIB, "stages=[prepare]", "plan_force=true")
    assert "this machine has 10.0 MiB" in log
    assert list((tmp_path / "run" / "prepared").iterdir())


def test_a_plan_that_fits_has_no_warning(attempt):
    _, log = attempt(10**15, "plan=true")
    assert "this machine has" not in log
