"""Answers of the published zero-shot and few-shot scripts, compared with a run that has the ratings."""

import json

import pytest

from dramaeval.evaluation.report.published_responses import (
    NO_RESPONSE,
    NO_SCORE,
    NOT_AN_OBJECT,
    OFF_SCALE,
    has_responses,
    read_responses,
)
from dramaeval.evaluation.report.read_results import Results, ResultsError, is_run
from dramaeval.evaluation.report.side_by_side import side_by_side


@pytest.fixture
def run(make_prediction):
    """A run on six records; the fourth id ends with ".wav", as ids of archetype records do."""
    predictions = [
        make_prediction(f"r{number}{'.wav' if number == 4 else ''}", 1 + number / 2, [number % 5 + 1, 3], dimension=key,
                        group=f"g{number}")
        for number in range(1, 7)
        for key in ("pitch_dynamics", "trait_embodiment")
    ]  # fmt: skip
    return Results(name="run", predictions=predictions, titles={"pitch_dynamics": "Pitch"})


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="gemini"):
        folder = tmp_path / "zero"
        folder.mkdir(exist_ok=True)
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return file

    return write


def answer(record=None, pitch=4, trait=2.0, **values):
    response = json.dumps({"pitch_dynamics": pitch, "trait_embodiment": trait, "traits": "N/A"})
    return {
        "model_name": "gemini25", "response": response, "audio_path": f"clips/x/{record}.wav", **values
    }  # fmt: skip


@pytest.mark.parametrize("name", ["gemini", "predictions_gemini"])
def test_answers_take_the_ratings_of_the_run_with_the_same_records(write, run, name):
    file = write(
        answer("r1"),
        answer(id="r2", pitch="3", trait=True),
        answer("r3", response='```json\n{"PitchDynamics": 5, "trait_embodiment": 5}\n```'),
        answer("r4"),
        answer("r9"),
        {},
        name=name,
    )
    assert has_responses(file)
    assert has_responses(file.parent)
    assert not is_run(file.parent)
    result = read_responses(file, "zero", [run])
    scores = {(p.id, p.dimension): p.expected for p in result.predictions}
    assert scores == {
        ("r1", "pitch_dynamics"): 4, ("r1", "trait_embodiment"): 2,
        ("r2", "pitch_dynamics"): 3, ("r2", "trait_embodiment"): 1,
        ("r3", "pitch_dynamics"): 5, ("r3", "trait_embodiment"): 5,
        ("r4.wav", "pitch_dynamics"): 4, ("r4.wav", "trait_embodiment"): 2,
    }  # fmt: skip
    first = result.predictions[0]
    assert (first.ratings, first.group, first.distribution) == ((2, 3), "g1", None)
    assert result.notes == [
        "zero: answers of gemini25 to 4 records in 4 lines, with the ratings of the runs beside it.",
        "zero: 2 lines left out, about records that no run beside it has (a line without id and audio_path, r9).",
    ]
    comparison = side_by_side([run, result], seed=0, draws=20, level=0.95)
    # Pitch: ratings r1 (2 + 3)/2, r2 3, r3 3.5, r4 4; scores 4, 3, 5, 4.
    assert comparison.summaries["zero"]["dimensions"]["pitch_dynamics"]["mse"] == pytest.approx(
        (1.5**2 + 0 + 1.5**2 + 0) / 4
    )


def test_trials_are_averaged_and_answers_without_a_score_are_unscored(write, run):
    write(answer("r1", pitch=2, trait=None), answer("r2", response="I cannot say"), name="trial1")
    file = write(
        answer("r1", pitch=5, trait=7), answer("r2", error=True), answer("r3", response=None), name="trial2"
    )  # fmt: skip
    result = read_responses(file.parent, "zero", [run])
    read = {(p.id, p.dimension): (p.expected, p.state) for p in result.predictions}
    assert read["r1", "pitch_dynamics"] == (3.5, "scored")
    assert read["r1", "trait_embodiment"] == (None, NO_SCORE)
    assert read["r2", "pitch_dynamics"] == (None, NOT_AN_OBJECT)
    assert read["r3", "trait_embodiment"] == (None, NO_RESPONSE)
    assert "3 records in 5 lines" in result.notes[0]
    assert f"zero: 2 answers unscored: {NOT_AN_OBJECT}." in result.notes
    alone = read_responses(write(answer("r1", trait=7), name="other"), "zero", [run])
    assert alone.predictions[1].state == OFF_SCALE


def test_files_that_cannot_be_compared_are_explained(write, run, tmp_path):
    def refused(path, *rated):
        with pytest.raises(ResultsError) as raised:
            read_responses(path, "zero", rated)
        return str(raised.value)

    assert "has answers without ratings: name a run" in refused(write(answer("r1")))
    assert "about r8; the runs have r1, r2" in refused(write(answer("r8")), run)
    two_models = write(answer("r1"), answer("r2", model_name="gpt4o"))
    assert "several models (gemini25, gpt4o)" in refused(two_models, run)
    assert "two records, r1 and r2" in refused(write(answer("r1", id="r2")), run)
    broken = write(answer("r1"))
    broken.write_text(broken.read_text() + "{\n")
    assert "gemini.jsonl, line 2: malformed JSON" in refused(broken, run)
    predictions_file = write(run.predictions[0].to_json(), name="predictions")
    assert "predictions of a run: name the folder" in refused(predictions_file, run)
    write(answer("r1"))
    predictions_file.unlink()
    (predictions_file.parent / "pitch.json").write_text('[{"id": "a", "ground_truth_ratings": {}}]')
    assert "pitch.json has results of the fine-tuning scripts" in refused(
        predictions_file.parent, run
    )
