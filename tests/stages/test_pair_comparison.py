"""``stages=[report]`` compares runs that judge pairs, and ``output=`` writes their answers as a table."""

import csv
import json
import math
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.predictions import Prediction, prediction_line
from dramaeval.evaluation.report.read_results import ResultsError, read_run
from dramaeval.evaluation.report.side_by_side import pairs_side_by_side
from dramaeval.evaluation.score_table import write_scores
from dramaeval.stages import report
from dramaeval.stages.run_folder import RunFolder

SETTINGS = {"seed": 0, "draws": 200, "level": 0.95}
#: Two judges on 12 pairs of 6 prompts. The raters prefer clip a; the first judge is right on every second pair.
RIGHT = [number % 2 == 0 for number in range(12)]


def prediction(number, outcomes, votes=(1.0, 1.0, 0.0), dimension="warmth"):
    p_a, p_tie, p_b = outcomes
    return PairPrediction(
        id=f"=p{number}", dimension=dimension, p_a=p_a, p_tie=p_tie, p_b=p_b, votes=votes,
        prompt=f"prompt {number // 2}", clip_a=f"a{number}.wav", clip_b=f"b{number}.wav", margin=p_a - p_b,
    )  # fmt: skip


def run_of(folder, predictions):
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"split": "test", **each.to_json()}) + "\n" for each in predictions]
    (folder / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def judges(tmp_path):
    half = [
        prediction(n, (0.5, 0.3, 0.2) if right else (0.2, 0.3, 0.5))
        for n, right in enumerate(RIGHT)
    ]
    good = [prediction(n, (0.8, 0.1, 0.1)) for n in range(13)]  # one pair more
    return run_of(tmp_path / "half", half), run_of(tmp_path / "good", good)


def results(*folders):
    return [read_run(folder, folder.name, "test", None) for folder in folders]


def test_differences_on_common_pairs_equal_values_by_hand(judges):
    comparison = pairs_side_by_side(results(*judges), **SETTINGS)
    gain = comparison.against_first["good"]["macro"]
    # 6 of 12 against 12 of 12.
    assert (gain["accuracy_untied"]["a"], gain["accuracy_untied"]["b"]) == (1.0, 0.5)
    assert gain["accuracy_untied"]["difference"] == pytest.approx(0.5)
    # Votes: 2/3 for a, 1/3 tie.
    good = -(2 / 3 * math.log(0.8) + 1 / 3 * math.log(0.1))
    half = -(2 / 3 * (math.log(0.5) + math.log(0.2)) / 2 + 1 / 3 * math.log(0.3))
    entry = gain["cross_entropy"]
    assert (entry["a"], entry["b"]) == pytest.approx((good, half))
    # Each prompt has one right and one wrong pair: every draw of prompts gives the same difference.
    assert entry["interval"] == pytest.approx([good - half] * 2)
    assert comparison.summaries["half"]["macro"]["cross_entropy"] == pytest.approx(half)
    assert comparison.notes == ["good: 1 comparison left out, because not every run has them."]
    assert comparison.dimensions == {"warmth": "warmth"}


def test_a_probability_of_0_has_a_finite_cross_entropy(tmp_path):
    folder = run_of(tmp_path / "run", [prediction(n, (1.0, 0.0, 0.0)) for n in range(6)])
    macro = pairs_side_by_side(results(folder), **SETTINGS).summaries["run"]["macro"]
    assert macro["cross_entropy"] == pytest.approx(-math.log(1e-12) / 3)


def test_the_stage_writes_page_markdown_tables_and_json(composed, judges, tmp_path):
    third = run_of(tmp_path / "third", [prediction(n, (0.3, 0.4, 0.3)) for n in range(12)])
    folder = RunFolder(tmp_path / "report")
    folder.path.mkdir()
    runs = ",".join(map(str, (*judges, third)))
    config = composed("stages=[report]", f"runs=[{runs}]", "evaluation.draws=100")
    assert report.check(config) == []
    report.run(config, folder)
    values = json.loads((folder.path / "comparison.json").read_text(encoding="utf-8"))
    assert values["names"] == ["half", "good", "third"]
    assert [(each["run"], each["against"]) for each in values["pairs"]] == [
        ("good", "half"), ("third", "half"), ("third", "good")
    ]  # fmt: skip
    html = folder.report.read_text(encoding="utf-8")
    for text in (
        "Accuracy without ties",
        "good against half: +0.50 [+0.50, +0.50]",
        "Every two runs",
        "Cross-entropy by dimension",
    ):
        assert text in html
    assert "Pearson" not in html
    text = (folder.path / "comparison.md").read_text(encoding="utf-8")
    assert "half: accuracy without ties 0.50 on 12 comparisons." in text
    with (folder.path / "tables" / "accuracy_untied.csv").open(
        newline="", encoding="utf-8"
    ) as stream:
        rows = list(csv.reader(stream))
    assert rows[-1][0] == "Mean"


def test_runs_that_cannot_be_compared_are_refused(composed, judges, tmp_path):
    half, _ = judges
    rated = Prediction(
        id="c", dimension="warmth", scale=(1.0, 2.0), distribution=(0.5, 0.5), expected=1.5, ratings=(1.0,),
        state="scored",
    )  # fmt: skip
    scores = run_of(tmp_path / "scores", [rated])
    both = run_of(tmp_path / "both", [rated, prediction(0, (0.5, 0.3, 0.2))])
    elsewhere = run_of(
        tmp_path / "elsewhere", [replace(prediction(0, (0.5, 0.3, 0.2)), id="other")]
    )
    voted = run_of(tmp_path / "voted", [prediction(0, (0.5, 0.3, 0.2), votes=(-1.0,))])
    for other, message in (
        (scores, "scores: it has scores of single clips, and other runs compare pairs"),
        (both, "has scores and comparisons of pairs"),
        (elsewhere, "no pair × dimension in common"),
        (voted, "pair '=p0' on 'warmth' has the votes"),
    ):
        config = composed("stages=[report]", f"runs=[{half},{other}]")
        with pytest.raises(ConfigError, match=message):
            report.run(config, RunFolder(tmp_path / "report"))
    with pytest.raises(ResultsError, match="scores and comparisons"):
        read_run(both, "both", "test", None)


def test_a_table_of_pairs_has_a_row_for_each_pair(tmp_path):
    predictions = [
        prediction(0, (0.5, 0.25, 0.25)), prediction(0, (0.25, 0.25, 0.5), dimension="pace"),
        replace(prediction(1, (0.5, 0.5, 0.0)), margin=None),
    ]  # fmt: skip
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(prediction_line(each) + "\n" for each in predictions), encoding="utf-8")
    for name in ("p.csv", "p.parquet", "p.jsonl"):
        write_scores(tmp_path / name, file, ["warmth", "pace"], {})
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows == [
        {
            "id": "=p0", "clip_a": "a0.wav", "clip_b": "b0.wav", "warmth.p_a": 0.5, "warmth.p_tie": 0.25,
            "warmth.p_b": 0.25, "warmth.margin": 0.25, "pace.p_a": 0.25, "pace.p_tie": 0.25, "pace.p_b": 0.5,
            "pace.margin": -0.25,
        },
        {
            "id": "=p1", "clip_a": "a1.wav", "clip_b": "b1.wav", "warmth.p_a": 0.5, "warmth.p_tie": 0.5,
            "warmth.p_b": 0.0, "warmth.margin": None, "pace.p_a": None, "pace.p_tie": None, "pace.p_b": None,
            "pace.margin": None,
        },
    ]  # fmt: skip
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert (first["id"], first["warmth.p_a"], second["warmth.margin"]) == ("'=p0", "0.5", "")
    assert (tmp_path / "p.jsonl").read_bytes() == file.read_bytes()
