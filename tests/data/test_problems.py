"""The table of problems: long lists are shortened and counted, and control characters are escaped."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from dramaeval.data.problems import BadRecordsError, Problem, line_list, problem_table


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a wide terminal, since a narrow one breaks cells into lines."""
    monkeypatch.setenv("COLUMNS", "160")


def problem(line: int | None = 1, **changes: object) -> Problem:
    values = {"file": Path("a.jsonl"), "line": line, "id": f"r{line}", "key": "wav_path",
              "problem": "no such file", "fix": "put it there"} | changes  # fmt: skip
    return Problem(**values)  # type: ignore[arg-type]  # the keys are those above


def test_the_table_has_every_cell() -> None:
    table = problem_table(
        [problem(7), problem(None, id=None, key=None, problem="empty", fix="fill")]
    )
    header, _, first, second = table.splitlines()
    assert header.split() == ["file", "line", "id", "key", "problem", "fix"]
    assert first.split("  ") != first
    for cell in ("a.jsonl", "7", "r7", "wav_path", "no such file", "put it there"):
        assert cell in first
    assert second.split() == ["a.jsonl", "empty", "fill"]


def test_a_fix_is_shown_once_and_long_lists_are_counted() -> None:
    found = [problem(line) for line in range(1, 1_001)] + [problem(3, key="id", fix="rename it")]
    text = str(BadRecordsError(found, "advice"))
    assert text.startswith("1,001 problems in 1,000 records of a.jsonl:")
    assert text.endswith("advice")
    assert text.count("put it there") == 1
    assert "r5 " in text
    assert "r6 " not in text
    assert "… and 995 more like these (lines 6-1000)" in text
    assert "rename it" in text


def test_many_kinds_of_problems_are_counted() -> None:
    text = problem_table([problem(line, fix=f"fix {line}") for line in range(1, 31)])
    assert "fix 12" in text
    assert "fix 13" not in text
    assert "… and 18 more problems of 18 other kinds" in text


def test_several_files_are_named() -> None:
    text = str(BadRecordsError([problem(1), problem(1, file=Path("d") / "b.jsonl")]))
    assert "2 problems in 2 records of 2 files" in text
    assert "d/b.jsonl" in text


def test_names_are_not_broken_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path = "speech_drame/finetuning/data/realism_data/role-eval_v1_0000.wav"
    assert path in problem_table([problem(problem=f"no such file: {path}")])


def test_hostile_characters_are_escaped_on_the_terminal() -> None:
    bad = problem(id="\x1b[31mred\nline [bold]", problem="half \ud800 pair")
    text = problem_table([bad])
    assert "\\x1b[31mred\\nline [bold]" in text  # brackets are not read as markup
    assert "\\ud800" in text
    text.encode("utf-8")
    json.dumps(bad.as_dict(), ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("lines", "text"),
    [([3], "line 3"), ([2, 1, 2], "lines 1-2"), ([1, 2, 3, 7, 9, 10], "lines 1-3, 7, 9-10"),
     (list(range(0, 40, 2)), "lines 0, 2, 4, 6, 8, 10, 12, 14 and 12 more")],
)  # fmt: skip
def test_lists_of_lines_are_shortened_to_ranges(lines: list[int], text: str) -> None:
    assert line_list(lines) == text


def test_the_error_can_be_pickled() -> None:
    error = BadRecordsError([problem()], "advice")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
