"""The tasks of a run: one, or those of a mixture."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from dramaeval.config.schema import split_files


def parts_of(task: DictConfig) -> dict[str, Any]:
    """The tasks' settings by name: those of a mixture, or the single task under its own name."""
    if task.get("tasks"):
        return {str(name): node for name, node in task.tasks.items()}
    return {str(task.get("name")): task}


def where_of(task: DictConfig, part: str) -> str:
    """The key of a task's settings."""
    return f"task.tasks.{part}" if task.get("tasks") else "task"


def files_of(task: DictConfig) -> dict[str, list[str]]:
    """The files of each split, of all tasks."""
    files: dict[str, list[str]] = {}
    for node in parts_of(task).values():
        for name, file in split_files(node.get("data") or {}).items():
            files.setdefault(name, []).append(file)
    return files
