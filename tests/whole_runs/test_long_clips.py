"""A run with clips longer than 30 s, which are split into windows, and with a limit of tokens per batch."""

import base64
import io
import json
import re

import pytest
import soundfile
from clips import write_clips

LONG = ("task.data.on_long=segments", "task.data.max_seconds=80", "batch.max_tokens=3500")
QUICK = (
    "trainer.args.max_steps=2",
    "trainer.args.eval_steps=1",
    "trainer.args.save_steps=1",
    "evaluation.draws=50",
    "task.dimensions=[pitch_dynamics,trait_embodiment]",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    lengths = {"train": (70.0, 1.0, 31.5, 2.0), "val": (40.0, 1.0, 2.0), "test": (75.0, 1.0, 45.0)}
    return [
        f"task.data.{split}={write_clips(folder, split, len(seconds), seconds=seconds, seed=number)}"
        for number, (split, seconds) in enumerate(lengths.items())
    ]


@pytest.mark.slow
def test_long_clips_are_planned_trained_scored_and_shown_whole_in_the_report(
    launch, files, tmp_path, read_metrics
):
    plan = launch("plan=true", *QUICK, *LONG, *files, f"hydra.run.dir={tmp_path}/plan")
    assert plan.returncode == 0, plan.stderr + plan.stdout
    assert "at most 3,500 tokens" in plan.stdout
    (tokens,) = re.findall(r"([\d,]+) tokens in the longest question", plan.stdout)
    assert int(tokens.replace(",", "")) > 75 * 25  # the tokens of all windows are counted
    folder = tmp_path / "run"
    done = launch(*QUICK, *LONG, *files, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").open(encoding="utf-8")]
    assert [line["state"] for line in lines] == ["scored"] * (3 + 3) * 2
    assert read_metrics(folder)["test"]["final"]["dimensions"]["pitch_dynamics"]["n"] == 3
    # The audio in the report is the whole clip, not a window.
    page = (folder / "report.html").read_text(encoding="utf-8")
    clips = re.findall(r"data:audio/mpeg;base64,([A-Za-z0-9+/=]+)", page)
    seconds = [soundfile.info(io.BytesIO(base64.b64decode(clip))).duration for clip in clips]
    assert sorted(seconds) == pytest.approx([1.0, 45.0, 75.0], abs=0.2)
