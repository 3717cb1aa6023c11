"""Access to the settings of the tasks of a run: a single task, or the tasks of a mixture."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from dramaeval.config.task_schema import split_files


def parts_of(task: DictConfig) -> dict[str, Any]:
    """The settings of each task of a mixture by name; of a single task, its settings under its name."""
    if task.get("tasks"):
        return {str(name): node for name, node in task.tasks.items()}
    return {str(task.get("name")): task}


def where_of(task: DictConfig, part: str) -> str:
    """The key of a task's settings."""
    return f"task.tasks.{part}" if task.get("tasks") else "task"


def files_of(task: DictConfig) -> dict[str, list[str]]:
    """The files of each split, over all tasks."""
    files: dict[str, list[str]] = {}
    for node in parts_of(task).values():
        for name, file in split_files(node.get("data") or {}).items():
            files.setdefault(name, []).append(file)
    return files
