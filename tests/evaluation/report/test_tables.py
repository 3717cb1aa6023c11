"""Numbers and tables as text, Markdown and CSV."""

import csv
import io

import pytest

from dramaeval.evaluation.report.tables import (
    Cell,
    Column,
    Table,
    comma_separated,
    markdown,
    number,
    shown,
    with_interval,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123, "0.12"), (-0.5, "−0.50"), (-0.001, "0.00"), (0.005, "0.01"), (1234.5, "1234.50")],
)
def test_numbers_are_shown_with_two_decimals(value, text):
    assert shown(value) == text


def test_a_difference_has_a_sign_and_is_bold_if_its_interval_excludes_zero():
    cell = with_interval(0.2, [0.1, 0.3], sign=True)
    assert (cell.plain, cell.strong) == ("+0.20 [+0.10, +0.30]", True)
    assert not with_interval(0.2, [-0.1, 0.3], sign=True).strong
    assert not with_interval(0.2, [0.1, 0.3]).strong
    assert with_interval(0.2, None, sign=True).plain == "+0.20"


@pytest.fixture
def table():
    return Table(
        "Results",
        [Column("Run", numeric=False), Column("r")],
        [
            [Cell("a|b, c"), with_interval(-0.256, [-0.5, 0.1])],
            [Cell("d"), number(None, missing="x")],
        ],
        [[Cell("Macro"), number(0.25)]],
        ["A note."],
    )


def test_a_table_is_written_as_markdown(table):
    assert markdown(table) == (
        "### Results\n\n| Run | r |\n| --- | ---: |\n| a\\|b, c | −0.26 [−0.50, 0.10] |\n| d | – |\n"
        "| Macro | 0.25 |\n\nA note.\n"
    )


def test_csv_reads_back_with_unrounded_numbers(table):
    assert list(csv.reader(io.StringIO(comma_separated(table)))) == [
        ["Run", "r", "r low", "r high"],
        ["a|b, c", "-0.256", "-0.5", "0.1"],
        ["d", "", "", ""],
        ["Macro", "0.25", "", ""],
    ]
