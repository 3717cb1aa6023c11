"""Checks ``task``: its data, its label policy and the arguments of its class."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config import fields
from dramaeval.config.home_folder import expand_home
from dramaeval.config.keys import argument_names, check_arguments, resolve_target
from dramaeval.config.problems import not_among
from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import files_of, parts_of, where_of
from dramaeval.config.task_schema import (
    MIXTURE_KEYS,
    NAMED_TEST,
    SPLITS,
    TASK_KEYS,
    DataConfig,
    long_clip_problems,
    split_files,
    test_set_problems,
)
from dramaeval.config.user_keys import default, override_keys
from dramaeval.data.import_formats import hub_hint, is_hub_name, is_source
from dramaeval.data.jsonl import FOLDER_FIX


def problems(config: DictConfig) -> list[str]:
    """Problems of ``task`` and, in a mixture, of each of its tasks."""
    task = config.task
    messages = missing_files(config) + long_clip_problems(task.data, "task.data")
    for part, node in parts_of(task).items():
        where = where_of(task, part)
        messages += test_set_problems(node.get("data") or {}, f"{where}.data")
        messages += check_arguments(node, where, also=TASK_KEYS)
        messages += _label_problems(node, where) + _dimension_problems(node, where)
    if not task.get("tasks"):
        return messages + _shot_problems(task)
    return messages + _mixture_problems(task) + _unused_problems(config)


def missing_files(config: DictConfig) -> list[str]:
    """Problems of data files that do not exist or are folders of an unknown kind."""
    return [
        f"task.data.{split.replace(NAMED_TEST, 'test.')}: {problem}"
        for split, files in files_of(config.task).items()
        for file in files
        if (problem := _file_problem(file, config.importer.format))
    ]


def _file_problem(file: str, importer_format: str | None) -> str | None:
    """Why a data file cannot be opened; problems of pipes and devices are reported when they are read."""
    path = expand_home(file)
    if path.is_dir() and not is_source(file, importer_format):
        return (
            f"{file} is a folder of no known kind (audio, datasets, Kaldi, Parquet): {FOLDER_FIX}, or name its format with "
            "importer.format=…."
        )
    if path.exists() or is_hub_name(file):
        return None
    return f"{file} does not exist.{hub_hint(file)}"


def _label_problems(node: Any, where: str) -> list[str]:
    labels, policies = node.get("labels"), node.get("label_policies") or {}
    target = resolve_target(node.get("_target_") or "")
    if labels in policies or target is None:
        return []
    if labels is None and "labels" not in argument_names(target):
        return []
    return [not_among(f"{where}.labels", labels, policies)]


def _dimension_problems(node: Any, where: str) -> list[str]:
    chosen, key = node.get("dimensions"), f"{where}.dimensions"
    if chosen is None or (chosen and OmegaConf.is_list(chosen)):
        return []
    if OmegaConf.is_list(chosen):
        return [f"{key}=[] selects no dimension: null selects all."]
    return [f"{key}={chosen} must be a list: {key}=[{chosen}]."]


def _unused_data_settings(part: Any, mixture: Any, where: str) -> list[str]:
    """Settings of the data of a mixture's part that the mixture's own replace, and that differ from them."""
    used = {key: mixture[key] for key in ("max_seconds", "on_long", "on_bad", "workers")}
    if mixture.audio_root:  # otherwise each part has its own
        used["audio_root"] = mixture.audio_root
    invalid = fields.invalid_keys(DataConfig, part)
    return [
        f"{where}.{key} has no effect in a mixture: give task.data.{key}."
        if key != "audio_root"
        else f"{where}.{key} has no effect beside task.data.{key}: leave out one of them."
        for key, value in used.items()
        # The part has the text of an enum.
        if key not in invalid and part.get(key) not in (None, value, getattr(value, "value", None))
    ]


def _mixture_problems(task: DictConfig) -> list[str]:
    first = next(iter(task.tasks))
    messages = [
        f"task.data.{key} does not say which of the tasks it is for: give task.tasks.{first}.data.{key}."
        for key in (*SPLITS, "sample")
        if task.data[key]
    ]
    messages += check_arguments(task, "task", also=TASK_KEYS)
    for part, node in parts_of(task).items():
        where = where_of(task, part)
        messages += fields.problems(DataConfig, node.get("data") or {}, f"{where}.data")
        messages += _unused_data_settings(node.get("data") or {}, task.data, f"{where}.data")
        if node.get("shots"):
            messages.append(
                f"{where}.shots={node.shots}: a mixture does not support examples: set it to 0."
            )
    return messages


def _unused_problems(config: DictConfig) -> list[str]:
    """Problems of settings of one task in a mixture that only the mixture has; the files of the tasks have defaults."""
    messages: list[str] = []
    if Stage.train not in config.stages:
        return messages
    given = override_keys(config)
    for part, node in parts_of(config.task).items():
        bundled = default("task", str(node.get("name"))) or {}
        for key in MIXTURE_KEYS:
            where, value = f"{where_of(config.task, part)}.{key}", node.get(key)
            if where in given or (key in node and key in bundled and value != bundled[key]):
                messages.append(
                    f"{where}={value} is not used: the tasks of a mixture are trained together. Set task.{key}."
                )
    return messages


def _shot_problems(task: DictConfig) -> list[str]:
    shots = task.get("shots") or 0
    if not isinstance(shots, int) or shots < 0:
        return [f"task.shots={shots} must be a whole number of 0 or more."]
    if shots and "train" not in split_files(task.data):
        return [
            f"task.shots={shots} takes its examples from task.data.train: give it as a JSONL file."
        ]
    return []
