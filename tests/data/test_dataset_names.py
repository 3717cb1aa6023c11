"""The key dataset_name: known names, records without one, and unknown names."""

import json

import pytest

from dramaeval.data.dataset_names import TASKS, lines_by_name
from dramaeval.data.jsonl import read_lines
from dramaeval.data.problems import BadRecordsError


def lines_of(tmp_path, *records):
    file = tmp_path / "records.jsonl"
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records) + "{broken\n")
    return lines_by_name(read_lines(file), file)


def test_lines_are_grouped_by_the_given_or_inferred_data_set(tmp_path):
    records = [
        {"dataset_name": "RoleEmotion"},
        {"local_scene": "A hall.", "question": "?"},
        {"question": "You are a cook."},
        {"dataset_name": None, "multi_choice": ["a", "b"], "question_text": "?"},
        {"dataset_name": "RoleEmotion", "question": "You are a cook."},
    ]
    assert lines_of(tmp_path, *records) == {
        "RoleEmotion": [1, 5], "ROLE": [2], "Arche": [3], "AVQA": [4],
    }  # fmt: skip


def test_unknown_names_are_refused_with_the_list(tmp_path):
    with pytest.raises(BadRecordsError) as raised:
        lines_of(
            tmp_path, {"id": "a", "dataset_name": "RoleCaptions"}, {"dataset_name": "ROLE"}, {"dataset_name": 3},
        )  # fmt: skip
    first, second = raised.value.problems
    assert (first.line, first.id, first.key) == (1, "a", "dataset_name")
    assert "'RoleCaptions' is not the name of a data set" in first.problem
    assert "Did you mean RoleCaption" in first.fix
    assert all(name in first.fix for name in TASKS)
    assert (second.line, second.problem) == (3, "3 is not the name of a data set")
