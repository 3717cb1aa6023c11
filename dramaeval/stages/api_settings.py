"""Checks the settings of a run whose judge is a model behind an endpoint (``model=api``)."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.keys import is_a
from dramaeval.config.literal import plain
from dramaeval.config.schema import Stage
from dramaeval.models.api_model import ApiModel
from dramaeval.tasks.all_dimensions import AllDimensionsTask
from dramaeval.tasks.choice import ChoiceTask
from dramaeval.tasks.task import Task
from dramaeval.tasks.thought import ThoughtTask

#: The stages that an endpoint cannot do, each with the reason.
_NEEDS_WEIGHTS = {
    Stage.prepare: "it writes training lines",
    Stage.train: "the weights behind an endpoint cannot be trained",
    Stage.controls: "its controls change the judge's inputs, and each would be paid for",
    Stage.export: "there are no weights to export",
    Stage.serve: "it loads the judge",
}


def asks_endpoint(config: DictConfig) -> bool:
    """Whether the judge is a model behind an endpoint."""
    return is_a(config.model, "ApiModel")


def check(config: DictConfig) -> list[str]:
    """Problems of ``model=api``; none for another model."""
    if not asks_endpoint(config):
        return []
    problems = [
        f"stages has {stage.name}, and model=api cannot do it: {reason}. Use stages=[evaluate], [score] or "
        "[leaderboard]."
        for stage, reason in _NEEDS_WEIGHTS.items()
        if stage in config.stages
    ]
    if config.checkpoint is not None:
        problems.append(
            f"checkpoint={config.checkpoint}: model=api has no weights here. Serve the judge and give its address "
            "as model.base_url, or leave model=api out."
        )
    if config.processes > 1:
        problems.append(
            f"processes={config.processes}: one process asks an endpoint: set model.concurrency instead."
        )
    return problems + _model_problems(config)


def _model_problems(config: DictConfig) -> list[str]:
    if OmegaConf.missing_keys(config.model):
        return []  # reported by the check of missing values
    values = {key: value for key, value in plain(config.model).items() if not key.startswith("_")}
    try:
        model = ApiModel(**values)
    except (TypeError, ValueError) as error:
        return [f"model: {error}"]
    problem = None if config.plan else model.key_problem()
    return [problem] if problem else []


def task_problems(task: Task) -> list[str]:
    """Problems of settings that have no effect at a chat endpoint, which writes its answers from the beginning."""
    problems: list[str] = []
    for name, part in task.parts.items() or [("", task)]:
        where = f"task.tasks.{name}" if name else "task"
        if isinstance(part, ThoughtTask) and part.thought_in_scoring != "generate":
            problems.append(
                f"{where}.thought_in_scoring={part.thought_in_scoring} begins the judge's answer, which an endpoint does "
                f"not take: set {where}.thought_in_scoring=generate."
            )
        if isinstance(part, ThoughtTask) and part.thought_sampling is not None:
            problems.append(
                f"{where}.thought_samples: an endpoint samples thoughts with their answers: leave it out, and set "
                "model.answers=samples model.samples=N."
            )
        if isinstance(part, AllDimensionsTask) and part.earlier != "own":
            problems.append(
                f"{where}.earlier={part.earlier} begins the judge's answer with a dimension, which an endpoint does not "
                f"take: set {where}.earlier=own."
            )
        if isinstance(part, ChoiceTask) and "generation" in part.scored_by:
            problems.append(
                f"{where}.scoring has generation, which an endpoint is not asked for: set "
                f"{where}.scoring=[likelihood]."
            )
    return problems
