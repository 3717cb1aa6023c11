"""The stages score, leaderboard, controls and report, run from the command line."""

import csv
import json
import os
import signal
import time

import pytest

pytestmark = pytest.mark.slow

TWO_DIMENSIONS = "task.dimensions=[pitch_dynamics,trait_embodiment]"


def lines_of(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def unrated(make_clips):
    """A function that writes clips without annotations, of two systems for the same prompts."""

    def write(count):
        file = make_clips("clip", count)
        records = lines_of(file)
        for number, one in enumerate(records):
            del one["annotations"]
            one["system"] = "ab"[number % 2]
            first_of_prompt = records[number - number % 2]
            for key in ("local_scene", "char_profile", "transcript"):
                one[key] = first_of_prompt[key]
        file.write_text("".join(json.dumps(one) + "\n" for one in records))
        return file

    return write


def test_killed_and_resumed_scoring_scores_each_clip_once(launch, start_launch, unrated, tmp_path):
    words = ["stages=[score]", f"input={unrated(16)}", TWO_DIMENSIONS, "batch.eval_clips=1"]
    whole = tmp_path / "whole"
    done = launch(*words, f"hydra.run.dir={whole}")
    assert done.returncode == 0, done.stderr
    killed = tmp_path / "killed" / "predictions.jsonl"
    running = start_launch(*words, f"hydra.run.dir={killed.parent}")
    deadline = time.monotonic() + 200
    while not (killed.is_file() and killed.stat().st_size):
        assert not running.has_ended
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait().returncode == -signal.SIGKILL
    before = len(lines_of(killed))
    assert 0 < before < 32
    with killed.open("a") as incomplete_line:
        incomplete_line.write('{"id": "clip-5')
    again = launch(*words, f"hydra.run.dir={killed.parent}")
    assert again.returncode == 0, again.stderr
    assert f"{before // 2} of 16 clips were scored before" in again.stdout
    expected, resumed = lines_of(whole / "predictions.jsonl"), lines_of(killed)
    assert [(one["id"], one["dimension"]) for one in resumed] == [
        (f"clip-{number}", key)
        for number in range(16)
        for key in ("pitch_dynamics", "trait_embodiment")
    ]
    for one, other in zip(resumed, expected, strict=True):
        assert one["expected"] == pytest.approx(other["expected"], abs=1e-4)
        assert (one["ratings"], one["state"]) == ([], "scored")


def test_the_leaderboard_stage_writes_ranks_and_scores_of_systems(
    launch, unrated, tmp_path, small_judge
):
    folder = tmp_path / "board"
    done = launch(
        "stages=[leaderboard]", f"input={unrated(24)}", TWO_DIMENSIONS, small_judge,
        f"hydra.run.dir={folder}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    board = json.loads((folder / "leaderboard.json").read_text())
    assert board["prompts"] == 12
    assert {one["prompts"] for one in board["systems"].values()} == {12}
    assert board["pairs"][0]["real"] in (True, False)
    with (folder / "tables" / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["System"] for row in rows] == list(board["systems"])
    assert float(rows[0]["Score"]) == board["systems"][rows[0]["System"]]["score"]
    assert "| System | Rank |" in (folder / "leaderboard.md").read_text()
    assert "is the first of 2 systems" in (folder / "report.html").read_text()


def test_controls_are_written_reused_and_shown_in_the_report_and_runs_are_compared(
    launch, make_clips, read_metrics, tmp_path, small_judge
):
    data = [
        f"task.data.{split}={make_clips(split, count, seed=seed)}"
        for seed, (split, count) in enumerate({"train": 14, "test": 12}.items())
    ]
    quick = [
        TWO_DIMENSIONS,
        small_judge,
        "evaluation.draws=50",
        "evaluation.changed_clips=10",
        "evaluation.phrasings=2",
        *data,
    ]
    folder = tmp_path / "run"
    done = launch("stages=[evaluate,controls]", *quick, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    metrics = read_metrics(folder)
    controls = metrics["controls"]["test"]
    assert list(controls) == [
        "training_mean", "transcript_only", "shuffled_audio", "silence", "duration", "prosody", "encoder_probe", "phrasing",
        "invariance", "text_bias",
    ]  # fmt: skip
    assert controls["training_mean"]["gain"]["macro"]["pearson"] is None
    own = metrics["test"]["zero_shot"]["macro"]["pearson"]
    for name in ("transcript_only", "shuffled_audio", "silence", "prosody", "encoder_probe"):
        gain = controls[name]["gain"]["macro"]["pearson"]
        assert gain["a"] == pytest.approx(own)
        assert gain["difference"] == pytest.approx(gain["a"] - gain["b"])
        assert len(gain["interval"]) == 2
    assert metrics["slices"]["test"]["character_seen"]["values"]["unseen"]["records"] == 12
    for name, changes in (("invariance", 8), ("text_bias", 4)):
        assert len(controls[name]["changes"]["by_change"]) == changes
        assert controls[name]["changes"]["records"] == 10
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (
        "Does the judge use the audio?",
        "Invariance: the largest mean shift",
        "Text bias: the largest",
    ):
        assert text in page
    assert page.count("<audio") == 10
    assert len(page.encode()) < 3_000_000

    # The same command again reads the controls from their files.
    files = {file: file.stat().st_mtime_ns for file in (folder / "controls").iterdir()}
    again = launch("stages=[evaluate,controls]", *quick, f"hydra.run.dir={folder}")
    assert again.returncode == 0, again.stderr
    assert "Control on test" not in again.stdout
    assert {file: file.stat().st_mtime_ns for file in files} == files

    # The comparison has this run, a run with few-shot examples, and results in the format of the published scripts.
    shots = tmp_path / "shots"
    done = launch(
        "stages=[evaluate]",
        "task.shots=2",
        *quick,
        "evaluation.html=false",
        f"hydra.run.dir={shots}",
    )
    assert done.returncode == 0, done.stderr
    published = tmp_path / "old"
    published.mkdir()
    lines = lines_of(tmp_path / "test.jsonl")
    for key, field in (("pitch_dynamics", "pitch_variation"), ("trait_embodiment",) * 2):
        items = [
            {"id": one["id"], "specific_dimension": key, "model_score": 2 + number % 3,
             "probability_score": None, "evaluation_text": "", "raw_model_output": "<answer>4</answer>",
             "ground_truth_ratings": {field: one["annotations"][field]}}
            for number, one in enumerate(lines)
        ]  # fmt: skip
        (published / f"{key}.json").write_text(json.dumps(items))
    comparison = tmp_path / "comparison"
    done = launch(
        "stages=[report]", f"runs=[{folder},{shots},{published}]", "evaluation.draws=50", f"hydra.run.dir={comparison}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compared = json.loads((comparison / "comparison.json").read_text())
    assert list(compared["against_first"]) == ["shots", "old"]
    assert len(compared["pairs"]) == 3
    assert compared["differing"]["task.shots"] == [0, 2, "?"]
    with (comparison / "tables" / "pearson.csv").open() as file:
        rows = {row["Dimension"]: row for row in csv.DictReader(file)}
    assert float(rows["Macro"]["run"]) == pytest.approx(own)
    assert {"run low", "shots − run", "old − run", "Ceiling"} <= set(rows["Macro"])
    assert "### Pearson by dimension" in (comparison / "comparison.md").read_text()
    assert "published scripts&#39; results" in (comparison / "report.html").read_text()
