"""Pages stay small with many systems, dimensions, runs or letters, and state what is left out."""

import csv
import io
import re
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from hostile import Elements

from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.report import comparison_page, plots, shared_context, tables
from dramaeval.evaluation.report import leaderboard_page as board_page
from dramaeval.evaluation.report import run_page as page
from dramaeval.evaluation.report.about_board import AboutBoard
from dramaeval.evaluation.report.tables import Cell, Column, Table, comma_separated, first_rows
from dramaeval.evaluation.summary import summarise

FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)


def predictions(dimensions, records):
    """Predictions whose errors increase from the first dimension to the last."""
    rng = np.random.default_rng(0)
    built = []
    for at, key in enumerate(dimensions):
        for record in range(records):
            rating = float(rng.integers(1, 6))
            expected = float(np.clip(rating + rng.normal(0, 0.2 + at / 4), 1, 5))
            built.append(
                Prediction(id=f"r{record}", dimension=key, scale=FIVE, distribution=None, expected=expected,
                           ratings=(rating,), state="scored")
            )  # fmt: skip
    return built


@pytest.fixture(scope="module")
def board():
    """150 systems on 4 prompts."""
    built = [
        replace(
            prediction,
            system=f"system {prediction.dimension}",
            dimension="pitch",
            id=prediction.dimension + prediction.id,
        )
        for prediction in predictions([f"{at:03}" for at in range(150)], 4)
    ]
    return rank(built, {entry.id: entry.id[3:] for entry in built}, seed=0, draws=100, level=0.95)


def body_rows(text, at):
    """The number of rows in the body of the table with index ``at``."""
    return text.split("<tbody>")[at + 1].split("</tbody>")[0].count("<tr>")


def look(board):
    return {
        "about": AboutBoard(date="", agreement="", report=None, dimensions=[]),
        "sentences": board_page.sentences(board),
        "forest": board_page.board_forest(board),
    }


@pytest.mark.slow
def test_a_leaderboard_shows_the_pairs_at_the_top_and_its_csv_has_all(board):
    full = board_page.tables_of(board, {})
    shown = board_page.shown_tables(board, full)
    text = board_page.render_board(board, shown, "large", [], "", **look(board))
    assert [body_rows(text, at) for at in range(3)] == [150, 150, 32 * 31 // 2]
    assert len(text.encode()) < 1_000_000
    first = set(list(board["systems"])[:32])
    assert {cell.text for row in shown["pairs"].rows for cell in row[:2]} == first
    assert (
        "The 496 pairs of the first 32 systems; tables/pairs.csv has all 11,175 pairs of the 150 systems."
        in text
    )
    assert "The first 60 of 150 systems." in text
    assert len(list(csv.reader(io.StringIO(comma_separated(full["pairs"]))))) == 1 + 150 * 149 // 2


def test_a_small_leaderboard_shows_all_pairs(board):
    names = list(board["systems"])[:32]
    small = {
        **board,
        "systems": {name: board["systems"][name] for name in names},
        "pairs": [pair for pair in board["pairs"] if {pair["better"], pair["worse"]} <= set(names)],
    }
    full = board_page.tables_of(small, {})
    assert board_page.shown_tables(small, full)["pairs"] is full["pairs"]
    assert "has all" not in board_page.render_board(small, full, "small", [], "", **look(small))


def test_sentences_and_cells_name_a_few_systems(board):
    """The first system is significantly above all others, or above none."""
    for real, sentence in (
        (True, "ahead of every system"),
        (False, "does not differ significantly from"),
    ):
        changed_board = {**board, "pairs": [{**pair, "real": real} for pair in board["pairs"]]}
        sentence_of_first = board_page.sentences(changed_board)[2]
        assert sentence in sentence_of_first
        assert len(sentence_of_first) < 250
        ranking = board_page.ranking(changed_board)
        above = ranking.columns.index(
            next(column for column in ranking.columns if column.title == "Significantly above")
        )
        assert all(len(row[above].text) < 150 for row in ranking.rows)
        assert real == ranking.rows[0][above].text.endswith(" and 141 more")
    assert sentence_of_first.endswith(" and 141 more.")


@pytest.mark.slow
def test_many_dimensions_have_pictures_of_the_best_and_worst(findings, monkeypatch):
    monkeypatch.setattr(page, "MOST_PICTURED", 4)
    monkeypatch.setattr(plots, "MOST_ROWS", 3)
    keys = [f"d{at}" for at in range(8)]
    built = predictions(keys, 60)
    summary = summarise(built, keys, seed=0, draws=0)
    pearson = {key: summary["dimensions"][key]["pearson"] for key in keys}
    ordered = sorted(keys, key=lambda key: pearson[key])
    chosen = sorted([*ordered[:2], *ordered[-2:]])
    metrics = {"test": {"final": summary}, "about": {}}
    text = page.render(replace(findings, metrics=metrics, predictions=built, titles={}))
    assert re.findall(r"<h3>(d\d) <small>Pearson", text) == chosen
    assert text.count("<svg") == 1 + 4 * 2 + len(shared_context.curves(findings.tensorboard))
    assert (
        "the 4 dimensions with the highest and the lowest Pearson of 8; the tables have all of them."
        in text
    )
    assert "The first 3 of 8 dimensions." in text
    forest = text.split("</svg>")[0]
    assert [f">{key}</text>" in forest for key in keys] == [True] * 3 + [False] * 5
    assert ">Macro</text>" in forest


def test_a_comparison_of_many_runs_leaves_tables_out(monkeypatch):
    monkeypatch.setattr(comparison_page, "MOST_EACH", 25)
    monkeypatch.setattr(comparison_page, "MOST_PAIRS", 2)
    small_table = Table("x", [Column("a"), Column("b")], [[Cell("1"), Cell("2")]] * 5)
    given = {"pairs": small_table, **{f"further_{at}": small_table for at in range(4)}}
    shown = comparison_page.shown_tables(given)
    assert list(shown) == ["pairs", "further_0", "further_1"]  # 10 cells each
    assert len(shown["pairs"].rows) == 2


def test_first_rows_limits_the_number_of_cells_and_letters(monkeypatch):
    monkeypatch.setattr(tables, "MOST_CELLS", 60)
    monkeypatch.setattr(tables, "MOST_LETTERS", 5)
    table = Table("x", [Column("a"), Column("b")], [[Cell("123456"), Cell("2")]] * 40, notes=["n"])
    shown = first_rows(table, "tables/x.csv")
    assert len(shown.rows) == 30
    assert shown.rows[0][0].text == "12345 … (1 more characters)"
    assert len(table.rows) == 40
    assert table.rows[0][0].text == "123456"
    monkeypatch.setattr(tables, "MOST_LETTERS", 100)
    assert first_rows(table, "tables/x.csv").notes == [
        "The first 30 of 40 rows; tables/x.csv has all of them.", "n",
    ]  # fmt: skip
    wide = Table("x", [Column("a")] * 100, [[Cell("1")] * 100] * 30)
    assert len(first_rows(wide, "y").rows) == tables.LEAST_ROWS
    assert first_rows(wide, "y", 30).notes == []


@pytest.mark.slow
def test_a_long_text_of_a_record_is_shortened(findings):
    records = [
        replace(record, fields=MappingProxyType({**record.fields, "local_scene": "word " * 50_000}))
        for record in findings.records
    ]
    text = page.render(replace(findings, records=records))
    assert len(text.encode()) < shared_context.LIMIT
    assert text.count("(247,999 more characters)") == 10  # a stripped text of 249,999 letters
    assert text.count("<audio") == 10
    assert Elements(text).text.count("word ") < 10 * shared_context.MOST_TEXT / 4
