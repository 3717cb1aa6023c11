"""task=auto is replaced in the command line by the task that the records name."""

import json

import pytest

from dramaeval.config.problems import ConfigError
from dramaeval.data.problems import BadRecordsError
from dramaeval.stages.automatic_task import with_task_of_records


@pytest.fixture
def file_of(tmp_path):
    def write(name, *dataset_names, **fields):
        file = tmp_path / f"{name}.jsonl"
        lines = [json.dumps({"dataset_name": each, **fields}) for each in dataset_names]
        file.write_text("\n".join(lines))
        return file

    return write


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Arche", ["task=archetype"]),
        ("RoleVariationCaption", ["task=role_variation_caption"]),
        ("RoleReasoning", ["task=role_variation"]),
        (
            "RoleAllFlexOrderConsistent",
            ["task=role_all", "task.order=shuffled", "task.rater=consistent"],
        ),
    ],
)
def test_task_auto_is_replaced_by_the_task_that_the_dataset_name_gives(
    file_of, capsys, name, words
):
    train, test = file_of("train", name, name), file_of("test", name)
    data = [f"task.data.train={train}", f"task.data.test='{test}'"]
    assert with_task_of_records(["seed=1", "task=auto", *data]) == ["seed=1", *words, *data]
    assert words[0] in capsys.readouterr().err


def test_settings_that_the_user_gives_are_not_replaced(file_of):
    words = ["task.order=fixed", "task=auto", f"task.data.test={file_of('a', 'RoleAllFlexOrder')}"]
    assert with_task_of_records(words) == [
        words[0], "task=role_all", "task.rater=independent", words[2],
    ]  # fmt: skip
    assert with_task_of_records(["task=role", "task.data.test=none.jsonl"]) == [
        "task=role", "task.data.test=none.jsonl",
    ]  # fmt: skip
    processed = f"task.data.test={file_of('b', 'any', prompt=[], solution='')}"
    assert with_task_of_records(["task=auto", processed]) == ["task=processed", processed]


def test_records_without_one_clear_task_are_refused(file_of, tmp_path):
    with pytest.raises(ConfigError, match=r"no file is named: give task\.data\.train=FILE"):
        with_task_of_records(["task=auto"])
    both = (
        f"task.data.train={file_of('a', 'ROLE', 'ROLE')}",
        f"task.data.test={file_of('b', 'ROLE', 'Arche')}",
    )
    with pytest.raises(ConfigError) as raised:
        with_task_of_records(["task=auto", *both])
    assert "ROLE (2 records, the first in line 1)" in str(raised.value)
    assert "Arche (1 record, the first in line 2)" in str(raised.value)
    with pytest.raises(ConfigError, match="takes one file for each split"):
        with_task_of_records(["-m", "task=auto", "task.data.train=a.jsonl,b.jsonl"])
    with pytest.raises(BadRecordsError, match="no such file"):
        with_task_of_records(["task=auto", f"task.data.test={tmp_path / 'none.jsonl'}"])
