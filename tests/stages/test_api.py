"""Runs whose judge is a model behind an endpoint."""

import json

import pytest
from chat_endpoint import chat_endpoint

from dramaeval.config.problems import ConfigError
from dramaeval.evaluation.predictions import read_predictions
from dramaeval.stages.api_context import context_of
from dramaeval.stages.api_settings import task_problems
from dramaeval.stages.builders import build_task
from dramaeval.stages.checks import check
from dramaeval.stages.pipeline import check_context, run_in_folder
from dramaeval.stages.run_folder import RunFolder

API_MODEL = ("model=api", "model.name=listener-1", "device=cpu")


@pytest.fixture
def endpoint():
    with chat_endpoint() as server:
        yield server


@pytest.fixture
def run(composed, make_clips, tmp_path, endpoint):
    file = make_clips("test", 6, seconds=(0.5,))

    def start(name, *overrides):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        config = composed(
            *API_MODEL,
            f"model.base_url={endpoint.url}",
            f"model.cache={tmp_path / 'cache'}",
            "task.dimensions=[rhythmic_naturalness,pitch_dynamics]",
            *(overrides or ("stages=[evaluate]", f"task.data.test={file}")),
            "evaluation.html=false",
            "evaluation.draws=50",
        )
        run_in_folder(config, folder, lambda *_: (), starts_processes=False)
        return folder

    return start


@pytest.mark.slow
def test_a_repeated_evaluation_takes_all_replies_from_the_cache(run, endpoint, tmp_path):
    first = run("first")
    figures = json.loads((first / "metrics.json").read_text())
    assert figures["test"]["zero_shot"]["macro"]["pearson"] > 0.5
    assert figures["api"]["requests"] == len(endpoint.bodies) == 12
    assert (figures["api"]["input_tokens"], figures["api"]["cost"]) == (1200, None)
    assert not (first / "model").exists()
    again = json.loads((run("again") / "metrics.json").read_text())
    assert len(endpoint.bodies) == 12
    assert again["test"] == figures["test"]
    assert (again["api"]["requests"], again["api"]["from_cache"]) == (0, 12)
    runs = f"runs=[{tmp_path / 'first'},{tmp_path / 'again'}]"
    assert "listener-1" in (run("both", "stages=[report]", runs) / "report.html").read_text()


@pytest.mark.slow
def test_clips_without_ratings_are_scored_by_an_endpoint(run, endpoint, make_clips, tmp_path):
    file = make_clips("new", 2, seconds=(0.5,))
    folder = run("scored", "stages=[score]", f"input={file}")
    predictions = read_predictions(folder / "predictions.jsonl")
    assert len(predictions) == 4
    assert all(each.scored for each in predictions)
    assert json.loads((folder / "api.json").read_text())["requests"] == 4


def test_the_plan_states_the_number_of_calls_and_the_seconds_of_audio(
    composed, make_clips, tmp_path, endpoint
):
    file = make_clips("test", 3, seconds=(2.0,))
    config = composed(
        *API_MODEL,
        f"model.base_url={endpoint.url}",
        "stages=[evaluate]",
        "plan=true",
        f"task.data.test={file}",
    )
    check(config)
    lines = check_context(context_of(config, RunFolder(tmp_path / "run")), starts=True).lines()
    # Three clips of two seconds with ten questions each, and each question sends its clip.
    (calls,) = [line.split(maxsplit=1)[1] for line in lines if line.split()[0] == "calls"]
    assert calls.startswith("30 (one a question")
    assert calls.endswith("60 seconds of audio")
    assert endpoint.bodies == []


@pytest.mark.parametrize("stage", ["prepare", "train", "controls", "export", "serve"])
def test_stages_that_need_weights_are_refused(problems_of, stage):
    stages = f"stages=[{stage}]" if stage != "controls" else "stages=[evaluate,controls]"
    problems = problems_of(*API_MODEL, "model.base_url=http://127.0.0.1:1/v1", stages)
    assert any(f"stages has {stage}, and model=api cannot do it" in each for each in problems)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("checkpoint=.", "model=api has no weights here"),
        ("processes=2", "set model.concurrency instead"),
        ("model.base_url=https://voices.example/v1", "has no OPENAI_API_KEY"),
        ("model.base_url=nowhere", "not an address"),
        ("model.samples=many", "model.samples=many must be"),
        ("model.sample=3", "model.sample is not an argument"),
        ("model.path=/models/x", "an endpoint has no folder"),
    ],
)
def test_invalid_settings_of_an_endpoint_are_refused(problems_of, monkeypatch, setting, problem):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    base = () if "base_url" in setting else ("model.base_url=http://127.0.0.1:1/v1",)
    plus = "+" if "model.sample=" in setting else ""
    problems = problems_of(*API_MODEL, *base, "stages=[evaluate]", plus + setting)
    assert any(problem in each for each in problems), problems


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (["task=role_emotion", "task.thought_in_scoring=skip"], "task.thought_in_scoring=skip"),
        (["task=role_emotion", "task.thought_samples=3"], "task.thought_samples"),
        (
            ["task=role_all", "task.earlier=left_out", "task.order=shuffled"],
            "task.earlier=left_out",
        ),
        (["task=avqa"], r"set task\.scoring=\[likelihood\]"),
    ],
)
def test_task_settings_that_an_endpoint_does_not_support_are_refused(
    composed, make_clips, tmp_path, task, problem
):
    config = composed(
        *API_MODEL,
        "model.base_url=http://127.0.0.1:1/v1",
        "stages=[evaluate]",
        f"task.data.test={make_clips('test', 1)}",
        *task,
    )
    with pytest.raises(ConfigError, match=problem):
        context_of(config, RunFolder(tmp_path / "run"))


def test_the_advice_names_the_task_of_a_mixture(composed):
    (problem,) = task_problems(build_task(composed("task=mixed")))
    assert problem.startswith("task.tasks.avqa.scoring has generation")
    assert problem.endswith("set task.tasks.avqa.scoring=[likelihood].")
    assert not task_problems(
        build_task(composed("task=mixed", "task.tasks.avqa.scoring=[likelihood]"))
    )
