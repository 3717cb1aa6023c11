"""``task=auto``: selects the task from the key ``dataset_name`` of the records."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dramaeval.config.home_folder import expand_home
from dramaeval.config.problems import ConfigError
from dramaeval.config.task_schema import SPLITS
from dramaeval.data.problems import counted

AUTO = "task=auto"
PROCESSED = "processed"


def with_task_of_records(words: Sequence[str]) -> list[str]:
    """The words of a command line, with the task of the records in place of ``task=auto``.

    Settings that belong to the name, such as ``task.order`` for ``RoleAllFlexOrder``, follow the task unless the user
    gives them. Without ``task=auto`` no file is read.

    Raises:
        ConfigError: no file of records is named, or the records belong to several tasks.
        BadRecordsError: a file cannot be read, or a record has an unknown name.
    """
    if AUTO not in words:
        return list(words)
    files = _files(words)
    if not files:
        raise ConfigError(
            f"{AUTO} reads the key dataset_name of the records, but no file is named: give "
            "task.data.train=FILE.jsonl or task.data.test=FILE.jsonl, or choose a task."
        )
    # The modules that read records take time to import, and few commands need them.
    from dramaeval.data.dataset_names import TASKS

    tasks = {**TASKS, PROCESSED: ("task=processed",)}
    by_file = {file: _lines_by_name(file) for file in files}
    names = {name for by_name in by_file.values() for name in by_name} or {"ROLE"}
    if len({tasks[name] for name in names}) > 1:
        raise ConfigError(_of_several_tasks(by_file))
    task, *settings = tasks[min(names)]
    print(f"{AUTO}: the records are of {' and '.join(sorted(names))}: {task}", file=sys.stderr)
    keys = {word.partition("=")[0].lstrip("+") for word in words}
    settings = [setting for setting in settings if setting.partition("=")[0] not in keys]
    place = words.index(AUTO)
    return [*words[:place], task, *settings, *words[place + 1 :]]


def _lines_by_name(file: Path) -> dict[str, list[int]]:
    from dramaeval.data.dataset_names import lines_by_name
    from dramaeval.data.records import checked_lines
    from dramaeval.tasks.processed_records import is_processed

    lines = checked_lines(file)
    first = next((line.fields for line in lines if line.fields), {})
    if is_processed(first):
        return {PROCESSED: [line.number for line in lines]}
    return lines_by_name(lines, file)


def _files(words: Iterable[str]) -> list[Path]:
    """The files of records that the words name.

    Raises:
        ConfigError: a word names several files, for the runs of a sweep.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    keys = {f"task.data.{split}" for split in SPLITS}
    data = [word for word in words if word.partition("=")[0].lstrip("+") in keys]
    overrides = OverridesParser.create().parse_overrides(data)
    if any(override.is_sweep_override() for override in overrides):
        raise ConfigError(
            f"{AUTO} takes one file for each split, and {' '.join(data)} names several."
        )
    values = [override.value() for override in overrides]
    return [expand_home(str(value)) for value in values if value is not None]


def _of_several_tasks(by_file: Mapping[Path, Mapping[str, Sequence[int]]]) -> str:
    listed = "; ".join(
        f"{file}: "
        + ", ".join(
            f"{name} ({counted(len(lines), 'record')}, the first in line {lines[0]})"
            for name, lines in by_name.items()
        )
        for file, by_name in by_file.items()
    )
    return (
        f"{AUTO}: the records are of several tasks ({listed}). Write one file for each dataset_name and choose the task, "
        "or mix them with task=mixed task.tasks.NAME.data.train=FILE.jsonl."
    )
