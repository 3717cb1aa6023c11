"""Selects and changes the files of a judge for the hub: weights, settings, rubric and figures, without private data."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from dramaeval.config.literal import parse_plain, read_plain
from dramaeval.config.problems import ConfigError
from dramaeval.config.secrets import without_secrets
from dramaeval.config.task_schema import held_out_splits
from dramaeval.config.weights import ADAPTER, JUDGE, MODEL

METRICS, RUBRIC = "metrics.json", "rubric.yaml"
#: The files of an export that are published; all other files are left out.
_PUBLISHED = (
    "*.safetensors", "*.safetensors.index.json", MODEL, ADAPTER, JUDGE, "generation_config.json",
    "preprocessor_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tekken.json", "tokenizer.model",
    "chat_template.json", "chat_template.jinja", "quantization.json", "quantization_config.json", "README.md",
    "LICENSE",
)  # fmt: skip
#: Files of vocabularies, which are not searched because entries may look like paths.
_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt", "tekken.json")
_TEXTS = (".json", ".yaml", ".md", ".jinja", ".txt", "LICENSE")
_PATH = re.compile(r"^(?:file:/)?(?:/|~/|[A-Za-z]:[\\/])[^\s/\\]+[/\\]")
#: A path in a text; a path that is part of a link has a letter, a colon or a slash before it.
_PATH_IN_TEXT = re.compile(r"(?<![\w.:/~-])~?/(?:[\w.-]+/)+[\w.-]*")
_PACKAGE = "package:"
#: The published figures of each split and phase.
_FIGURES = ("macro", "dimensions", "bootstrap")


def fill(folder: Path, export: Path, metrics: Path | None, repository: str) -> list[str]:
    """Copy the files to publish into an empty folder.

    Args:
        export: the folder of the exported judge.
        metrics: ``metrics.json`` of the run that trained the judge; None without one.
        repository: owner/name on the hub.

    Returns:
        the names of the export's files that are left out.

    Raises:
        ConfigError: a file contains a path of this machine or a secret, or the adapter's base is a folder.
    """
    left_out = []
    for file in sorted(export.iterdir()):
        if file.is_file() and any(fnmatch(file.name, name) for name in _PUBLISHED):
            shutil.copyfile(file, folder / file.name)
        else:
            left_out.append(file.name)
    judge = _read_yaml(folder / JUDGE)
    judge.pop("raters", None)  # names of people
    base = str((judge.get("model") or {}).get("path") or "")
    if (folder / ADAPTER).is_file():
        _require_public(base)
        _change_json(folder / ADAPTER, {"base_model_name_or_path": base})
    elif judge:
        judge["model"]["path"] = repository  # the weights are in the same folder
    if (folder / MODEL).is_file():
        _change_json(folder / MODEL, {"_name_or_path": repository}, only_present=True)
    if judge:
        _write_yaml(folder / JUDGE, judge)
        _write_yaml(folder / RUBRIC, _rubrics(judge["task"]))
    if metrics is not None and metrics.is_file():
        figures = published_figures(json.loads(metrics.read_text(encoding="utf-8")))
        (folder / METRICS).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if problems := [problem for file in sorted(folder.iterdir()) for problem in _problems(file)]:
        raise ConfigError(problems)
    return left_out


def published_figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The agreement by split and phase, and the rubric, without names of records, files, systems or speakers."""
    figures: dict[str, Any] = {
        split: {
            phase: {name: summary[name] for name in _FIGURES if name in summary}
            for phase, summary in metrics[split].items()
        }
        for split in held_out_splits(metrics)
    }
    about = metrics.get("about") or {}
    return {**figures, "about": {key: about[key] for key in ("rubric", "records") if key in about}}


def _require_public(base: str) -> None:
    """Raise ConfigError for an adapter whose base is a folder of this machine."""
    if base.startswith(_PACKAGE) or (base and not Path(base).is_absolute()):
        return
    raise ConfigError(
        "export.push_to_hub: the base of the adapter is a folder of this machine, which other people do not have. "
        "Publish the merged model (export.merge=true), or train on a base from the hub (model.path=owner/name)."
    )


def _rubrics(task: Mapping[str, Any]) -> Any:
    """The rubric of a task, or the rubrics of a mixture by task."""
    if task.get("tasks"):
        return {name: _rubrics(part) for name, part in task["tasks"].items()}
    return task.get("rubric")


_PARSERS: Mapping[str, Callable[[str], Any]] = {".json": json.loads, ".yaml": parse_plain}


def _problems(file: Path) -> Iterator[str]:
    """Secrets and paths of this machine in a text file."""
    if not file.name.endswith(_TEXTS) or file.name in _VOCABULARIES:
        return
    text = file.read_text(encoding="utf-8")
    if without_secrets(text) != text:
        yield f"export.push_to_hub: {file.name} holds what looks like a secret: remove it from the export."
    parse = _PARSERS.get(file.suffix)
    values = parse(text) if parse else []
    paths = [value for value in _leaves(values) if _PATH.match(value)]
    if file.suffix in (".md", ".txt"):
        paths += _PATH_IN_TEXT.findall(text)
    for value in paths:
        yield f"export.push_to_hub: {file.name} holds a path of this machine, {value}: remove it from the export."
    for place in {str(Path.home()), str(Path.cwd()), str(file.parents[1])}:
        if len(Path(place).parts) > 1 and f"{place}/" in text:
            yield f"export.push_to_hub: {file.name} names the folder {place}: remove it from the export."


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value


def _change_json(file: Path, changes: Mapping[str, Any], *, only_present: bool = False) -> None:
    values = json.loads(file.read_text(encoding="utf-8"))
    values |= {key: value for key, value in changes.items() if key in values or not only_present}
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _read_yaml(file: Path) -> dict[str, Any]:
    return read_plain(file) if file.is_file() else {}


def _write_yaml(file: Path, values: Any) -> None:
    file.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
