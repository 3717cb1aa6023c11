"""``judge.yaml``: the settings of a judge, in the folder of its weights (``model/`` or ``export/``).

A judge consists of weights, rubric, prompt, scale and front end. The file holds the settings of the task without
records, the family and the base of the model, and the version of the log-mel front end. It is read as plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaml import safe_dump

from dramaeval.config.problems import ConfigError
from dramaeval.config.renamed_targets import read_saved
from dramaeval.config.schema import PACKAGE
from dramaeval.config.task_schema import SPLITS
from dramaeval.config.weights import ADAPTER, JUDGE, hub_commit, model_identity, weights_folder
from dramaeval.version import package_version

#: The version of the file's format; it increases when older versions of dramaeval cannot read new files.
FORMAT = 1
#: Settings of a task that the file omits: they describe a training or a data set.
_NOT_OF_TASK = ("label_policies", "data", "tasks")
#: Settings of a model that the file omits: they describe a machine or a training.
NOT_OF_MODEL = frozenset(
    {"dtype", "attention", "device_map", "offload_folder", "trust_remote_code", "architecture"}
    | {"freeze_audio", "freeze_llm", "train_projector", "plain"}
)
#: Settings of the data that also apply to other data that the judge scores.
DATA = ("max_seconds", "on_long")
_IN_PACKAGE = "package:"
_SAMPLES = PACKAGE / "data" / "sample"


@dataclass(frozen=True)
class SavedJudge:
    """The settings of a judge.

    Attributes:
        folder: the folder of the weights.
        file: the file of the settings: ``judge.yaml``, or the ``config.yaml`` of an older run.
        adapter: whether the weights are an adapter.
        task: the settings of the task; ``data.sample`` is the name of the bundled sample, or None.
        model: the settings of the model, with its family and its base.
        base_fingerprint: fingerprint of the base's folder; None for a base on the hub, or if unknown.
        objective: the objective of the training; None after a training with rewards.
        front_end: version of the log-mel front end; None if unknown.
        examples: hash of the training records from which a few-shot judge takes examples; None without examples.
        raters: the raters whose answers a judge with ``task.listeners=embed`` can predict; None if unknown.
    """

    folder: Path
    file: Path
    adapter: bool
    task: dict[str, Any]
    model: dict[str, Any]
    base_fingerprint: str | None
    objective: str | None
    front_end: int | None
    examples: str | None = None
    raters: tuple[str, ...] | None = None


def judge_text(
    settings: Mapping[str, Any],
    *,
    base: str,
    front_end: int,
    examples: str | None = None,
    raters: Iterable[str] = (),
) -> str:
    """The content of ``judge.yaml``.

    Args:
        settings: the configuration of the run in plain values, secrets masked.
        base: folder or name of the model on which the judge was trained.
        front_end: version of the log-mel front end.
        examples, raters: as in `SavedJudge`.
    """
    names = sorted(raters)
    content = {
        "format": FORMAT,
        "dramaeval": package_version(),
        "front_end": front_end,
        **({"examples": examples} if examples else {}),
        **({"raters": names} if names else {}),
        **_content(settings),
    }
    folder, revision = Path(base), content["model"].get("revision")
    if folder.is_dir():
        content["base_fingerprint"] = model_identity(folder)
        content["model"]["revision"] = None
        base = str(folder.absolute())
    elif commit := hub_commit(base, revision):
        content["model"]["revision"] = commit
    if folder.is_relative_to(PACKAGE):
        base = _IN_PACKAGE + folder.relative_to(PACKAGE).as_posix()
    content["model"]["path"] = base
    return safe_dump(content, sort_keys=False, allow_unicode=True)


def _content(settings: Mapping[str, Any]) -> dict[str, Any]:
    trainer = settings.get("trainer") or {}
    return {
        "objective": trainer.get("objective"),
        "model": _model(settings["model"]),
        "task": _task(settings["task"]),
    }


def _task(task: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in task.items() if key not in _NOT_OF_TASK}
    if task.get("tasks"):
        kept["tasks"] = {name: _task(part) for name, part in task["tasks"].items()}
    data = task.get("data") or {}
    kept["data"] = {"sample": _sample_name(data), **{key: data[key] for key in DATA if key in data}}
    return kept


def names_records(data: Mapping[str, Any]) -> bool:
    """Whether the settings ``data`` name a file of records."""
    return any(data.get(split) for split in SPLITS)


def _sample_name(data: Mapping[str, Any]) -> str | None:
    """The name of the bundled sample; None for the user's own records."""
    if names_records(data) or not data.get("sample"):
        return None
    sample = Path(data["sample"])
    is_bundled = sample.parts[-3:-1] == _SAMPLES.parts[-2:] and (_SAMPLES / sample.name).is_dir()
    return sample.name if is_bundled else None


def sample_folder(name: Any) -> str | None:
    """The folder of a bundled sample; None for an unknown name."""
    known = sorted(folder.name for folder in _SAMPLES.iterdir() if folder.is_dir())
    return str(_SAMPLES / name) if name in known else None


def read_judge(path: str | Path) -> SavedJudge | None:
    """The judge in a run folder, a model folder or an adapter folder.

    Runs of earlier versions have no ``judge.yaml``; their ``config.yaml`` is read.

    Returns:
        None if the folder has no weights, or the weights have no settings of a judge.

    Raises:
        ConfigError: the file is damaged or has a newer format.
    """
    folder = weights_folder(path)
    if folder is None:
        return None
    file = folder / JUDGE
    is_listed = file.is_file()
    if not is_listed:
        configs = [run / "config.yaml" for run in folder.absolute().parents[:2]]
        file = next((config for config in configs if config.is_file()), file)
    values = _read(file) if file.is_file() else None
    if values is None or not (is_listed or {"stages", "task", "model"} <= set(values)):
        return None
    for key in ("task", "model"):
        if not isinstance(values.get(key), dict):
            raise ConfigError(f"{file}: {key} is not a mapping. Restore the file from a copy.")
    judge = values if is_listed else _content(values)
    return SavedJudge(
        folder=folder,
        file=file,
        adapter=(folder / ADAPTER).is_file(),
        task=judge["task"],
        model=_model(judge["model"]),
        base_fingerprint=judge.get("base_fingerprint"),
        objective=judge.get("objective"),
        front_end=judge.get("front_end"),
        examples=judge.get("examples"),
        raters=tuple(map(str, raters)) if isinstance(raters := judge.get("raters"), list) else None,
    )


def _read(file: Path) -> dict[str, Any] | None:
    values = read_saved(file)
    if not isinstance(values, dict):
        return None
    version_of_file = values.get("format", FORMAT)
    if file.name == JUDGE and version_of_file != FORMAT:
        reason = f"has format {version_of_file}, and this version reads {FORMAT}"
        raise ConfigError(f"{file} {reason}: install a newer dramaeval.")
    return values


def _model(model: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the model, with the current path of a model that comes with this package."""
    kept = {key: value for key, value in model.items() if key not in NOT_OF_MODEL}
    path = kept.get("path")
    if isinstance(path, str) and path.startswith(_IN_PACKAGE):
        kept["path"] = str(PACKAGE / path.removeprefix(_IN_PACKAGE))
    return kept
