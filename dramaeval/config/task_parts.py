"""The tasks that a run is made of: one, or those of a mixture."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

#: What is taken from a task's settings before its class is called.
TASK_KEYS = ("labels", "label_policies", "data", "best_by", "objective")


def parts_of(task: DictConfig) -> dict[str, Any]:
    """The tasks' settings by name: a mixture's own tasks, or the one task under its own name."""
    if task.get("tasks"):
        return {str(name): node for name, node in task.tasks.items()}
    return {str(task.name): task}


def where_of(task: DictConfig, part: str) -> str:
    """The key under which a task's settings stand."""
    return f"task.tasks.{part}" if task.get("tasks") else "task"


def files_of(task: DictConfig) -> dict[str, list[str]]:
    """The files of each split, over all tasks."""
    from dramaeval.config.schema import split_files

    found: dict[str, list[str]] = {}
    for node in parts_of(task).values():
        for name, file in split_files(node.data).items():
            found.setdefault(name, []).append(file)
    return found
