"""Reads a judge's settings from its folder and checks them before use, since another person may have written them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config import fields
from dramaeval.config.composition import compose
from dramaeval.config.judge_file import DATA, SavedJudge, sample_folder
from dramaeval.config.keys import check_arguments, is_a
from dramaeval.config.literal import literal, plain, read_plain
from dramaeval.config.model_schema import ModelConfig
from dramaeval.config.problems import ConfigError
from dramaeval.config.registration import node_of
from dramaeval.config.renamed_targets import with_current_targets
from dramaeval.config.task_schema import TaskConfig
from dramaeval.config.trust import asks_for_remote_code, untrusted_targets

#: The label policy of a judge that only scores; it is never called.
NEUTRAL = {"_target_": "dramaeval.tasks.labels.distribution", "_partial_": True}


def read_judge_config(run: Path, trust: Sequence[str], *, remote_code: bool) -> DictConfig | None:
    """Read the configuration in a run folder; ``${`` in it is plain text. None if the folder holds no run.

    ``trust`` and ``remote_code`` are those of `dramaeval.Judge.load`.

    Raises:
        ConfigError: lists every class that is not trusted and every invalid setting of the model.
        yaml.YAMLError: ``config.yaml`` is not YAML.
    """
    file = run / "config.yaml"
    values = with_current_targets(read_plain(file)) if file.is_file() else None
    if not isinstance(values, dict) or not {"stages", "task", "model"} <= set(values):
        return None
    _check(values, file, trust, remote_code=remote_code)
    return OmegaConf.create(literal(values))


def judge_config(judge: SavedJudge, trust: Sequence[str], *, remote_code: bool) -> DictConfig:
    """The configuration of a judge that is not in a run folder, from ``judge.yaml`` and the default settings.

    Arguments and errors are those of `read_judge_config`.
    """
    config = compose()
    values = {"model": judge.model, "task": _with_data(judge.task, plain(config.task.data))}
    _check(values, judge.file, trust, remote_code=remote_code)
    folder = {} if judge.adapter else {"path": str(judge.folder), "revision": None}
    config.model = node_of(ModelConfig, {**plain(config.model), **judge.model, **folder})
    config.task = node_of(TaskConfig, values["task"])
    return config


def _with_data(task: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """A task's settings with ``data``, which names no records other than the bundled sample."""
    saved = task.get("data") or {}
    kept = {key: saved[key] for key in DATA if key in saved}
    kept["sample"] = sample_folder(saved.get("sample"))
    parts = {name: _with_data(part, data) for name, part in (task.get("tasks") or {}).items()}
    return {**task, **({"tasks": parts} if parts else {}), "data": {**data, **kept}}


def _check(values: dict[str, Any], file: Path, trust: Sequence[str], *, remote_code: bool) -> None:
    """Check the classes that a judge's settings build, and remove settings of folders that building would write.

    Raises:
        ConfigError: lists every class that is not trusted and every invalid setting of the model.
    """
    model = values["model"]
    built = {"model": model, "quantization": values.get("quantization")}
    problems = untrusted_targets({**built, "task": _without_labels(values["task"])}, trust)
    if asks_for_remote_code(built) and not remote_code:
        problems.append(
            "model.trust_remote_code=true: Python code that comes with the model would run. If you trust it: "
            "trust_remote_code=True."
        )
    if not problems and not isinstance(model, dict):
        problems = [f"model={model!r} is not a mapping."]
    elif not problems:  # the check of arguments imports the classes
        problems = check_arguments(model, "model") + fields.problems(ModelConfig, model, "model")
    if problems:
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    # The file may come from another person, so the folders that it names for offloaded weights and for a composed
    # model are not written.
    model.pop("offload_folder", None)
    if is_a(model, "Composed"):
        model["path"] = "auto"


def neutral_labels(task: DictConfig) -> DictConfig:
    """A task's settings with a label policy of this package: scoring needs no targets, so the judge's is not built."""
    if not task.get("labels"):
        return task
    values = task.copy()
    values.labels, values.label_policies = "neutral", {"neutral": NEUTRAL}
    return values


def _without_labels(task: Any) -> Any:
    """The settings of a task or a mixture without label policies, which are not built."""
    if not isinstance(task, dict):
        return task
    kept = {key: value for key, value in task.items() if key != "label_policies"}
    parts = kept.get("tasks")
    if isinstance(parts, dict):
        kept["tasks"] = {name: _without_labels(part) for name, part in parts.items()}
    return kept
