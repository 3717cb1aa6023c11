"""The settings of a judge from its run folder, which may be somebody else's: data, checked before use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from dramaeval.config.keys import check_arguments
from dramaeval.config.literal import literal, read_plain
from dramaeval.config.problems import ConfigError, not_among
from dramaeval.config.renamed_targets import with_current_targets
from dramaeval.config.schema import ATTENTIONS, DTYPES
from dramaeval.config.trust import asks_for_remote_code, untrusted_targets
from dramaeval.models.errors import ModelError

#: The label policy of a judge that only scores: targets are not asked of it.
NEUTRAL = {"_target_": "dramaeval.tasks.labels.distribution", "_partial_": True}


def read_judge_config(run: Path, trust: Sequence[str], *, remote_code: bool) -> DictConfig | None:
    """The configuration of the run in a folder, in which ``${`` is plain text; None where there is no run.

    Args:
        run: the folder.
        trust: see `dramaeval.Judge.load`.
        remote_code: whether code that comes with the model may run.

    Raises:
        ConfigError: with every class that is not trusted, and every setting of the model that is not valid.
        ModelError: ``config.yaml`` is not YAML.
    """
    file = run / "config.yaml"
    try:
        values = with_current_targets(read_plain(file)) if file.is_file() else None
    except YAMLError as error:
        raise ModelError(f"{file} is not YAML: {error}") from None
    if not isinstance(values, dict) or not {"stages", "task", "model"} <= set(values):
        return None
    built = {"model": values["model"], "quantization": values.get("quantization")}
    problems = untrusted_targets({**built, "task": _without_labels(values["task"])}, trust)
    if asks_for_remote_code(built) and not remote_code:
        problems.append(
            "model.trust_remote_code=true: Python code that comes with the model would run. If you trust it, "
            "say so: trust_remote_code=True."
        )
    # The names are known to be safe to import only now.
    problems = problems or _invalid(values["model"])
    if problems:
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    # A folder that somebody else names is not written to.
    values["model"].pop("offload_folder", None)
    return OmegaConf.create(literal(values))


def neutral_labels(task: DictConfig) -> DictConfig:
    """A task's settings with a label policy of this package: scoring asks none for targets."""
    if not task.get("labels"):
        return task
    values = task.copy()
    values.labels, values.label_policies = "neutral", {"neutral": NEUTRAL}
    return values


def _without_labels(task: Any) -> Any:
    """A task's settings, or those of a mixture, without the label policies, which are not built."""
    if not isinstance(task, dict):
        return task
    kept = {key: value for key, value in task.items() if key != "label_policies"}
    parts = kept.get("tasks")
    if isinstance(parts, dict):
        kept["tasks"] = {name: _without_labels(part) for name, part in parts.items()}
    return kept


def _invalid(model: Any) -> list[str]:
    """What of a model's settings its run could not have had: transformers would take other values elsewhere."""
    if not isinstance(model, dict):
        return [f"model={model!r} is not a mapping."]
    problems = check_arguments(model, "model")
    for key, valid in (("attention", ATTENTIONS), ("dtype", DTYPES)):
        if model.get(key, valid[0]) not in valid:
            problems.append(not_among(f"model.{key}", model[key], valid))
    return problems
