"""The tasks of a judge's own run, by name."""

from __future__ import annotations

from omegaconf import DictConfig

from dramaeval.config.task_parts import parts_of

#: Tasks without scores of clips: they ask for options, or their records contain the questions.
NO_SCORES = {"avqa", "mixed", "processed"}


def own_tasks(config: DictConfig) -> list[str]:
    """The names of the run's tasks with scores."""
    return [name for name in parts_of(config.task) if name not in NO_SCORES]


def task_of_scores(config: DictConfig) -> str:
    """The name of the task with which a judge scores clips if no task is named.

    Raises:
        ValueError: the run has several tasks, and none is ``role``.
    """
    names = own_tasks(config)
    if len(names) == 1:
        return names[0]
    if names and "role" not in names:
        raise ValueError(
            f"This judge has the tasks {', '.join(names)}: name one, as in task={names[0]!r}."
        )
    return "role"
