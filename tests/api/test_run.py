"""`dramaeval.run`: it runs the program in this process and gives the results as tables."""

from __future__ import annotations

import json
import logging
import sys

import pytest

import dramaeval
from dramaeval.config.problems import ConfigError


@pytest.mark.slow
def test_a_run_scores_and_restores_the_state_of_the_process(tmp_path, monkeypatch, make_clips):
    monkeypatch.chdir(tmp_path)
    file, folder = make_clips("x", 3), tmp_path / "out"
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    before = logging.getLogger().handlers[:], sys.excepthook
    arguments = [
        "stages=[score]",
        f"input={file}",
        "task.dimensions=[emotion_accuracy,pitch_dynamics]",
    ]
    result = dramaeval.run([*arguments, "device=cpu", f"hydra.run.dir={folder}"])
    assert (logging.getLogger().handlers, sys.excepthook) == before
    logging.getLogger().removeHandler(handler)
    assert (result.folder, result.objective, result.metrics) == (folder, None, {})
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").open()]
    frame = result.predictions
    assert frame.to_dict("records") == lines
    assert len(frame) == 6
    assert result.paths["predictions"] == folder / "predictions.jsonl"
    assert result.paths["config"].is_file()
    assert "report" not in result.paths
    assert result.predictions_of("zero_shot").empty


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("seed=1", "a list of words"),
        (["-m", "seed=1,2"], "one run"),
        (["seed=1,2"], "(?i)sweep|multirun"),
        (["sed=1"], "Did you mean seed"),
        (["seed=x"], "seed"),
        (["stages=[report]"], "one run|runs"),
        (["score", "tiny"], "needs the clips"),
        (["stages=[score]", "input=none.wav"], "none.wav does not exist"),
    ],
)
def test_invalid_arguments_raise_one_error_and_start_no_run(
    arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        dramaeval.run(arguments)
    assert not list(tmp_path.rglob("predictions*"))


@pytest.mark.parametrize("stages", ["serve", "train,serve", "evaluate,export,serve"])
def test_a_run_that_would_serve_is_refused_before_its_other_stages(stages, tmp_path):
    words = [f"stages=[{stages}]", "serve.port=0", "trainer.args.max_steps=1", "device=cpu"]
    with pytest.raises(ConfigError, match="needs the command dramaeval serve RUN"):
        dramaeval.run([*words, f"hydra.run.dir={tmp_path / 'run'}"])
    assert not list((tmp_path / "run").glob("[!.]*"))


def test_the_plan_of_a_run_that_would_serve_needs_no_server(tmp_path):
    words = ["stages=[serve]", "serve.port=0", "device=cpu", "plan=true"]
    assert dramaeval.run([*words, f"hydra.run.dir={tmp_path / 'run'}"]).objective is None
