"""Small runs with pairs: metrics, report, ranking and refused inputs."""

import json
from collections import Counter

import numpy as np
import pytest
import soundfile

from dramaeval.config.schema import PACKAGE
from dramaeval.evaluation.pair_predictions import PairPrediction, read_pair_predictions
from dramaeval.evaluation.pairs.pair_summary import summarise_pairs
from dramaeval.evaluation.prediction_stream import resume
from dramaeval.evaluation.predictions import PredictionsError, prediction_line
from dramaeval.stages import leaderboard, score
from dramaeval.stages.builders import build_task
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.pipeline import run_stages
from dramaeval.stages.predictions_file import read_phase
from dramaeval.stages.run_folder import RunFolder

SAMPLE = PACKAGE / "data" / "sample" / "archetype"
ONE_DIMENSION = "task.dimensions=[human_likeness]"
QUICK = ("device=cpu", "logger=none", "evaluation.draws=20", ONE_DIMENSION)


@pytest.fixture
def context_of(composed, tmp_path):
    """A function that builds the context of a run whose stages have not run yet."""

    def build(*overrides):
        config = composed(*QUICK, *overrides)
        check(config)
        folder = RunFolder(tmp_path / "run")
        folder.path.mkdir()
        folder.open(config)
        return RunContext(config, folder)

    return build


@pytest.fixture
def finished(context_of):
    """A function that runs all stages and returns the context."""

    def run(*overrides):
        context = context_of(*overrides)
        run_stages(context)
        return context

    return run


@pytest.fixture
def unrated(tmp_path):
    """A function that writes clips of the given systems for each of three prompts, without ratings."""

    def write(*systems):
        rng = np.random.default_rng(0)
        lines = []
        for prompt in range(3):
            for system in systems:
                name = f"{prompt}-{system}"
                soundfile.write(tmp_path / f"{name}.wav", rng.normal(0, 0.1, 8_000), 16_000)
                lines.append(
                    {
                        "id": name,
                        "wav_path": f"{name}.wav",
                        "question": f"Role {prompt}",
                        "system": system,
                    }
                )
        file = tmp_path / "clips.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return file

    return write


def prediction(name, **more):
    values = {"p_a": 0.5, "p_tie": 0.25, "p_b": 0.25, "votes": (1.0,), "clip_a": "a", "clip_b": "b"}
    return PairPrediction(id=name, dimension="human_likeness", **{**values, **more})


def test_unrated_clips_of_an_input_form_all_pairs_of_a_prompt(composed, unrated):
    task = build_task(composed("task=pair", "task.dimensions=[human_likeness,audio_quality]"))
    pairs = task.read(unrated("s", "t", "u"), annotated=False).records
    assert Counter(pair.fields["question"] for pair in pairs) == {f"Role {n}": 3 for n in range(3)}
    assert all({pair.text("system_a"), pair.text("system_b")} <= {"s", "t", "u"} for pair in pairs)


def test_the_ratings_of_an_input_change_neither_its_pairs_nor_its_questions(composed):
    task = build_task(composed("task=pair", "task.derive.per_prompt=null"))
    rated = task.read(SAMPLE / "test.jsonl").records
    all_pairs = task.read(SAMPLE / "test.jsonl", annotated=False).records
    assert {pair.id for pair in rated} < {pair.id for pair in all_pairs}
    counts = {len(task.without_ratings().dimensions_for(pair)) for pair in all_pairs}
    assert counts == {len(task.dimensions)}
    assert min(len(task.dimensions_for(pair)) for pair in rated) < len(task.dimensions)


def test_pair_lines_are_read_by_split_and_resumed(tmp_path):
    file = tmp_path / "predictions.jsonl"
    first, second = prediction("p1"), prediction("p2")
    lines = [json.dumps({"split": "test", **each.to_json()}) for each in (first, second)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert read_phase(file).pairs == {"test": [first, second]}

    class NamedRecord:
        def __init__(self, name):
            self.id = name

    file.write_text(prediction_line(first) + "\n", encoding="utf-8")
    records = [NamedRecord("p1"), NamedRecord("p2")]
    assert resume(file, records, lambda record: 1) == records[1:]
    file.write_text(f"{prediction_line(first)}\n{prediction_line(first)}\n[]\n", encoding="utf-8")
    with pytest.raises(PredictionsError, match=r"(?s)line 2: p1 .* already on line 1.*line 3"):
        read_pair_predictions(file)


@pytest.mark.slow
def test_direct_comparisons_are_evaluated_and_reported(finished):
    context = finished(
        "task=pair_direct",
        "stages=[evaluate]",
        f"task.data.test={SAMPLE / 'test.jsonl'}",
        "task.derive.margin=1.5",
    )
    metrics = json.loads(context.folder.metrics.read_text(encoding="utf-8"))
    predictions = read_phase(context.folder.predictions("zero_shot")).pairs["test"]
    expected = summarise_pairs(
        predictions, ["human_likeness"], seed=context.config.seed, draws=20, level=0.95
    )
    figures = metrics["pairs"]["test"]["zero_shot"]
    assert figures["unscored"] == 0
    assert figures["macro"] == json.loads(json.dumps(expected["macro"]))
    assert figures["macro"]["position_bias"] is not None
    assert set(metrics["pair_systems"]["test"]["systems"]) == {
        name for p in predictions for name in (p.system_a, p.system_b)
    }
    html = context.folder.report.read_text(encoding="utf-8")
    assert "Worst pairs" in html
    assert html.count("<audio") == 2 * min(10, len({p.id for p in predictions}))


@pytest.mark.slow
def test_unrated_clips_are_ranked_by_pairs(finished, unrated):
    context = finished("task=pair", "stages=[leaderboard]", f"input={unrated('s', 't')}")
    board = json.loads((context.folder.path / "leaderboard.json").read_text(encoding="utf-8"))
    assert board["comparisons"] == 3
    assert board["people_order"] == {"undefined": "no pair has a known vote"}
    margins = {p.id: p.margin for p in read_pair_predictions(context.folder.predictions("final"))}
    assert len(margins) == 3
    assert "Bradley-Terry rating" in context.folder.report.read_text(encoding="utf-8")
    assert (context.folder.path / "tables" / "ranking.csv").is_file()


@pytest.mark.slow
def test_a_leaderboard_of_pairs_without_systems_is_refused(context_of, tmp_path):
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.full(8_000, ord(name) / 1e3), 16_000)
    line = {"id": "p", "wav_path_a": "a.wav", "wav_path_b": "b.wav", "question": "Role"}
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(line) + "\n", encoding="utf-8")
    context = context_of("task=pair", "stages=[leaderboard]", f"input={file}")
    (problem,) = leaderboard.check_records(context)
    assert 'name 0: give each record the keys "system_a" and "system_b"' in problem
    assert score.check_records(context) == []
