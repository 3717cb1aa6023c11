"""Access to the settings of the tasks of a run: a single task, or the tasks of a mixture."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from dramaeval.config.task_schema import split_files


def parts_of(task: DictConfig) -> dict[str, Any]:
    """The settings of each task by name; a mixture has several tasks."""
    if task.get("tasks"):
        return {str(name): node for name, node in task.tasks.items()}
    return {str(task.get("name")): task}


def where_of(task: DictConfig, part: str) -> str:
    """The key of a task's settings: ``task``, or ``task.tasks.NAME`` in a mixture."""
    return f"task.tasks.{part}" if task.get("tasks") else "task"


def files_of(task: DictConfig) -> dict[str, list[str]]:
    """The files of each split, from all tasks."""
    files: dict[str, list[str]] = {}
    for node in parts_of(task).values():
        for name, file in split_files(node.get("data") or {}).items():
            files.setdefault(name, []).append(file)
    return files
