"""Tables as CSV: cells are read back unchanged, and formulas become texts."""

import ast
import csv
import io

import pytest
from repository import ROOT

from dramaeval.data.csv_text import csv_text


@pytest.mark.parametrize(
    "cell", ["=1+1", "+task.x", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "--x", "-", "+１"]
)  # fmt: skip
def test_a_formula_becomes_a_text(cell):
    ((found,),) = csv.reader(io.StringIO(csv_text([[cell]]), newline=""))
    assert found == f"'{cell}"


@pytest.mark.parametrize(
    "cell", ["-1", "+3", "-1e-4", "-.5", "1=2", " =1", "a\nb", 'say "a", b', "−0.03", "a\r=1"]
)
def test_numbers_and_other_texts_are_unchanged(cell):
    ((found,),) = csv.reader(io.StringIO(csv_text([[cell]]), newline=""))
    assert found == cell


def test_values_that_are_not_text_are_written_unchanged():
    assert csv_text([["a", "b"], [-0.25, None], [True, -3]]) == "a,b\n-0.25,\nTrue,-3\n"


def test_no_other_file_writes_csv():
    """Code that writes with the module `csv` directly would not change formulas to texts."""
    names = ("writer", "DictWriter", "to_csv")
    files = [
        file for folder in ("dramaeval", "benchmarks") for file in (ROOT / folder).rglob("*.py")
    ]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    users = [
        file.name
        for file, text in texts.items()
        if any(f".{each}" in text for each in names)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and node.attr in names
    ]
    assert users == ["csv_text.py"]
