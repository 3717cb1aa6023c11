"""Builds the objects of a run from its configuration, without reading weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from dramaeval.config.composition import chosen_files, compose
from dramaeval.config.home_folder import expand_home
from dramaeval.config.literal import instantiate
from dramaeval.config.problems import ConfigError
from dramaeval.config.task_schema import TASK_KEYS
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.records import Record
from dramaeval.errors import UserFacingError, raised
from dramaeval.evaluation.metrics.metric import Metric, metric_name
from dramaeval.evaluation.metrics.standard import with_standard
from dramaeval.models.families.base import Family
from dramaeval.tasks.listeners import EMBED, listener_problem, names_of
from dramaeval.tasks.mixed import MixedTask
from dramaeval.tasks.rubric import RubricError
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import trainable_dimensions

#: The number of training records whose targets are computed before weights load.
_LABELS_CHECKED = 100


def build_task(config: DictConfig) -> Task:
    """Build the task with its rubric and its label policy.

    Raises:
        ConfigError: the rubric, or the name of a dimension, is not valid.
    """
    node: Any = OmegaConf.to_container(config.task, resolve=True, enum_to_str=True)
    try:
        task = _instantiate_task(node)
    except (InstantiationException, ValueError) as error:
        cause = error.__cause__ or error
        where = _rubric_file(cause.rubric) if isinstance(cause, RubricError) else ""
        raise ConfigError(f"task: {_reason(error)}{where}") from None
    task.built_from = node
    return task


def _reason(error: Exception) -> str:
    """Why an object cannot be built; where the error is no message about its arguments, also where it was raised."""
    cause = error.__cause__ or error
    if isinstance(cause, ValueError | UserFacingError | InstantiationException):
        return str(cause)
    if isinstance(cause, TypeError) and "argument" in str(cause):
        return str(cause)  # the arguments do not fit the signature, which the message names
    return raised(cause)


def build_mixture(tasks: Mapping[str, Task]) -> Task:
    """A mixture of tasks that are already built; an epoch has every record once."""
    node: Any = OmegaConf.to_container(compose("task=mixed").task, resolve=True, enum_to_str=True)
    node |= {"weights": None, "tasks": {name: task.built_from for name, task in tasks.items()}}
    mixed = MixedTask(name=node["name"], tasks=tasks)
    mixed.built_from = node
    return mixed


def _instantiate_task(node: dict[str, Any]) -> Task:
    """Build a task from its settings; for a mixture, its tasks first."""
    arguments = {key: value for key, value in node.items() if key not in TASK_KEYS}
    if node.get("tasks"):
        parts = {name: _instantiate_task(part) for name, part in arguments.pop("tasks").items()}
        return instantiate(arguments, tasks=parts)
    if node.get("labels"):
        return instantiate(arguments, labels=instantiate(node["label_policies"][node["labels"]]))
    return instantiate(arguments)


def _rubric_file(name: str) -> str:
    """The last line of a message, with the file of the rubric that has this name."""
    files = [
        str(file)
        for file in chosen_files("task/rubric")
        if OmegaConf.select(OmegaConf.load(file), "name") == name
    ]
    return f"\n  The file is {', '.join(files)}." if files else ""


def attach_examples(task: Task, splits: Mapping[str, Sequence[Record]], seed: int) -> None:
    """Give a few-shot task its training records, and choose the examples for every record.

    Raises:
        ConfigError: there are too few examples for a record.
    """
    if not task.shots:
        return
    try:
        task.show_examples(splits.get("train", []), seed)
        for records in splits.values():
            for record in records:
                task.examples(record)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def check_listeners(task: Task, records: Sequence[Record]) -> None:
    """Raise ConfigError if the task has a listener model and training records do not name their raters."""
    problems = [
        f"task.{f'tasks.{part}.' if part else ''}listeners={EMBED} {problem}"
        for part, part_records, fields in _with_listeners(task, records)
        if (problem := listener_problem(part_records, fields))
    ]
    if problems:
        raise ConfigError(problems)


def check_labels(task: Task, records: Sequence[Record]) -> None:
    """Raise ConfigError if a label policy of the user fails on the first training records, or gives none of them a target."""
    rng = np.random.default_rng(0)
    rated = [record for record in records[:_LABELS_CHECKED] if trainable_dimensions(task, record)]
    targets = [task.targets(record, task.dimensions_for(record), rng) for record in rated]
    if rated and not any(targets):
        raise ConfigError(
            f"task.labels: the label policy returns None for every rating of the first {len(rated)} rated training "
            "records: return a distribution over the scale, and None only without ratings."
        )


def trained_raters(task: Task, records: Sequence[Record]) -> set[str]:
    """The raters whose scores a judge can predict after its training on the records; empty without a listener model."""
    return {
        name
        for _, part_records, fields in _with_listeners(task, records)
        for record in part_records
        for name in names_of(record, fields)
    }


def _with_listeners(
    task: Task, records: Sequence[Record]
) -> Iterator[tuple[str, list[Record], list[str]]]:
    """The name (empty for a single task), records and annotation fields of each task with a listener model."""
    for part, part_task in (task.parts or {"": task}).items():
        if part_task.has_listeners:
            fields = [dimension.annotation for dimension in part_task.dimensions]
            yield part, [record for record in records if not part or record.part == part], fields


def build_cache(config: DictConfig) -> FeatureCache | None:
    """The cache of features on disk; None without one."""
    settings = config.cache
    if not settings.enabled or not settings.folder:
        return None
    return FeatureCache(expand_home(settings.folder), int(settings.max_gb * 1e9))


def build_family(config: DictConfig) -> Family:
    """Build the model family; no file is read.

    Raises:
        ConfigError: the family's class refuses a value.
    """
    try:
        return instantiate(config.model)
    except InstantiationException as error:
        raise ConfigError(f"model: {_reason(error)}") from None


def build_metrics(config: DictConfig) -> list[Metric]:
    """Build the user's metrics in ``evaluation.metrics``.

    Raises:
        ConfigError: lists every metric that cannot be built or called, and a name that is taken.
    """
    metrics, problems = [], []
    for node in config.evaluation.metrics:
        try:
            metric = instantiate(node)
            metric_name(metric)
        except InstantiationException as error:
            problems.append(f"evaluation.metrics: {node._target_}: {_reason(error)}")
        except ValueError as error:
            problems.append(
                f"evaluation.metrics: {error} (see dramaeval.evaluation.metrics.metric)."
            )
        else:
            metrics.append(metric)
            if not callable(metric):
                problems.append(
                    f"evaluation.metrics: {node._target_} cannot be called with answers."
                )
    try:
        with_standard(metrics)
    except ValueError as error:
        problems.append(f"evaluation.metrics: {error}.")
    if problems:
        raise ConfigError(problems)
    return metrics


def build_callbacks(config: DictConfig, args: Any) -> list[Any]:
    """Build the user's callbacks in ``callbacks``.

    Args:
        args: the trainer's arguments; None without training.

    Raises:
        ConfigError: lists every callback that cannot be built or used.
    """
    from transformers import EarlyStoppingCallback, TrainerCallback

    callbacks, problems = [], []
    for name, node in (config.get("callbacks") or {}).items() if args else ():
        try:
            callback = instantiate(node)
        except InstantiationException as error:
            problems.append(f"callbacks.{name}: {_reason(error)}")
            continue
        callbacks.append(callback)
        if not isinstance(callback, TrainerCallback):
            problems.append(
                f"callbacks.{name}: {node['_target_']} is not a transformers.TrainerCallback: let the class inherit "
                "from it."
            )
        elif isinstance(callback, EarlyStoppingCallback):
            problems += [f"callbacks.{name}: {text}" for text in _early_stopping_problems(args)]
    if problems:
        raise ConfigError(problems)
    return callbacks


def _early_stopping_problems(args: Any) -> Iterator[str]:
    if args.eval_strategy == "no":
        yield (
            "early stopping needs validations: give a val split (task.data.val=FILE) and "
            "trainer.args.eval_strategy=steps."
        )
    elif not (args.load_best_model_at_end and args.metric_for_best_model):
        yield (
            "early stopping keeps the best step: set trainer.args.load_best_model_at_end=true and "
            "trainer.args.metric_for_best_model."
        )


def build_quantization(config: DictConfig) -> Any | None:
    """Build transformers' quantisation settings of the language model; None without quantisation.

    Raises:
        ConfigError: transformers refuses a value.
    """
    if not config.quantization:
        return None
    try:
        return instantiate(config.quantization)
    except (InstantiationException, ValueError, TypeError) as error:
        raise ConfigError(f"quantization: {error.__cause__ or error}") from None
