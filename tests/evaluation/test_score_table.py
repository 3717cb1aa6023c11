"""The table of scores in a terminal, as CSV, as Parquet and as JSONL."""

from __future__ import annotations

import csv
import io

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from dramaeval.evaluation.predictions import Prediction, prediction_line
from dramaeval.evaluation.score_table import by_clip, print_scores, write_scores

DIMENSIONS = ["warmth", "pace"]


def prediction(name, dimension, shares, state="scored"):
    scale = (1.0, 2.0, 3.0)
    expected = None if shares is None else sum(k * p for k, p in zip(scale, shares, strict=True))
    return Prediction(
        id=name, dimension=dimension, scale=scale, distribution=shares, expected=expected, ratings=(),
        state=state,
    )  # fmt: skip


@pytest.fixture
def file(tmp_path):
    predictions = [
        prediction("=a", "warmth", (0.5, 0.0, 0.5)),
        prediction("=a", "pace", (0.0, 1.0, 0.0)),
        prediction("b", "warmth", None, "no answer"),
        prediction("b", "pace", (0.25, 0.5, 0.25)),
    ]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(prediction_line(each) + "\n" for each in predictions))
    return path


def test_a_clip_is_a_row_and_a_missing_score_is_empty_with_its_reason(file, tmp_path):
    for name in ("s.csv", "s.parquet", "s.jsonl"):
        write_scores(tmp_path / name, file, DIMENSIONS, {"=a": "/x/a.wav"})
    rows = pq.read_table(tmp_path / "s.parquet").to_pylist()
    # (1 + 3) / 2 = 2, a spread of 1; (1 + 4 + 3) / 4 = 2, a spread of √(2 · 1/4).
    assert rows == [
        {
            "id": "=a", "clip": "/x/a.wav", "warmth": 2.0, "pace": 2.0, "warmth.spread": 1.0,
            "pace.spread": 0.0, "unscored": None,
        },
        {
            "id": "b", "clip": None, "warmth": None, "pace": 2.0, "warmth.spread": None,
            "pace.spread": pytest.approx(0.5**0.5), "unscored": "warmth: no answer",
        },
    ]  # fmt: skip
    with (tmp_path / "s.csv").open(newline="") as stream:
        first, second = csv.DictReader(stream)
    assert first["id"] == "'=a"  # so that a spreadsheet does not read a formula
    assert (first["warmth.spread"], second["warmth"], second["pace"]) == ("1.0", "", "2.0")
    assert (tmp_path / "s.jsonl").read_bytes() == file.read_bytes()
    assert not list(tmp_path.glob("*.unfinished"))


def shown(groups, dimensions, **options):
    console = Console(file=io.StringIO(), width=80, **options)
    print_scores(groups, dimensions, console=console)
    return console.file.getvalue()


def test_one_clip_is_shown_with_distributions_and_several_with_one_line_each(file):
    groups = list(by_clip(file))
    text = shown(groups[:1], DIMENSIONS)
    assert "1: 50%  3: 50%" in text
    assert [line.split()[:3] for line in text.splitlines() if "pace" in line] == [
        ["pace", "2.00", "0.00"]
    ]
    text = shown(groups, DIMENSIONS)
    assert [line.split() for line in text.splitlines() if line[:2] in ("=a", "b ")] == [
        ["=a", "2.00", "2.00"], ["b", "-", "2.00"],
    ]  # fmt: skip
    many = [f"dimension_{number}" for number in range(12)]
    text = shown(groups, many, force_terminal=True, color_system=None)
    assert "12 dimension_11" in text
    assert max(map(len, text.splitlines()[:3])) <= 100
    assert not shown([], DIMENSIONS)
