"""Writes model cards: the base, data and settings of a judge, its agreement with people and its licence.

The content comes only from the files of the run folder. The card shows "not known" for facts that these do not contain.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dramaeval.config.judge_file import names_records
from dramaeval.config.literal import parse_plain
from dramaeval.config.task_schema import SPLITS, held_out_splits, split_files, test_splits
from dramaeval.config.weights import MODEL, weights_folder
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.manifest import damage_of
from dramaeval.evaluation.report.markup import in_markdown
from dramaeval.tasks.rubric import dimension_settings

log = logging.getLogger(__name__)

NAME = "README.md"
TITLE = "# A judge of acted speech"
UNKNOWN = "not known"
_CARDS = (NAME, "MODELCARD.md")


def write_card(
    folder: Path, run: Path | None, *, adapter: Path | None = None, merged: bool = False
) -> None:
    """Write the card of a judge.

    Args:
        folder: the folder of the adapter or the full model.
        run: the folder of the run that trained the judge; None if unknown.
        adapter: the folder with the settings of the adapter, if it is not ``folder``.
        merged: whether an adapter was merged into the weights.
    """
    config = _read(run / "config.yaml", parse_plain) if run else {}
    metrics = _read(run / "metrics.json", json.loads) if run else {}
    environment = _read(run / "environment.json", json.loads) if run else {}
    settings = _read((adapter or folder) / "adapter_config.json", json.loads)
    text = card(config, metrics, environment, settings, merged=merged)
    write_text_atomic(folder / NAME, text)


def card(
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    environment: Mapping[str, Any],
    adapter: Mapping[str, Any],
    *,
    merged: bool = False,
) -> str:
    """The card as Markdown.

    Args:
        config, metrics, environment: the content of the files of the run folder; empty if unknown.
        adapter: the settings of the adapter; empty for a full model.
        merged: whether the adapter was merged into the weights.
    """
    base = _base(config, adapter)
    licence = licence_of(base) if base else None
    head = {
        "base_model": _shown(base),
        "library_name": "peft" if adapter and not merged else "transformers",
        "license": licence,
        "tags": ["dramaeval", "speech", "judge"],
    }
    front = yaml.safe_dump({key: value for key, value in head.items() if value}, sort_keys=False)
    sections = [
        f"---\n{front}---\n\n{TITLE}",
        _introduction(config, adapter, merged),
        _data(config, metrics),
        _agreement(metrics),
        _training(config, environment),
        _licence(base, licence),
    ]
    return "\n\n".join(sections) + "\n"


def is_ours(file: Path) -> bool:
    """Whether `write_card` has written a card; libraries also write cards, from empty templates."""
    return file.is_file() and TITLE in file.read_text(encoding="utf-8")


def licence_of(base: str) -> str | None:
    """The licence in the model card of a base model; None if there is no card, or no licence in it.

    Args:
        base: a folder, or a name on the hub; for a name, only the local cache is read.
    """
    from huggingface_hub import metadata_load

    for file in _cards_of(base):
        try:
            head = metadata_load(file) or {}
        except (ValueError, yaml.YAMLError):  # a damaged card
            continue
        if licence := head.get("license_name") or head.get("license"):
            return ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)
    return None


def _cards_of(base: str) -> Iterable[Path]:
    if Path(base).is_dir():
        return [Path(base) / name for name in _CARDS if (Path(base) / name).is_file()]
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(base, NAME)
    except HFValidationError:
        return []
    return [Path(cached)] if isinstance(cached, str) else []


def _base(config: Mapping[str, Any], adapter: Mapping[str, Any]) -> str | None:
    model = config.get("model") or {}
    parts = [str(model[key]) for key in ("audio", "text") if model.get(key)]
    if parts and not config.get("checkpoint"):  # model=composed is named by its parts
        return " + ".join(filter(None, map(_shown, parts)))
    if named := adapter.get("base_model_name_or_path"):
        return str(named)
    if config.get("checkpoint"):
        folder = weights_folder(config["checkpoint"])
        if folder and (folder / MODEL).is_file():
            return str(folder)
    return model.get("path")


def _shown(base: str | None) -> str | None:
    """The name of a base model on the card; for a folder only the last part of its path."""
    if base is None:
        return None
    return Path(base).name if Path(base).is_absolute() or Path(base).is_dir() else base


def _introduction(config: Mapping[str, Any], adapter: Mapping[str, Any], merged: bool) -> str:
    method = in_markdown(adapter.get("peft_type", UNKNOWN))
    kind = f"An adapter ({method})" if adapter else "A full model"
    if merged:
        kind = "A full model with a trained adapter merged into its weights"
    lines = []
    for task in _tasks(config):
        rubric = task.get("rubric") or {}
        keys = [dimension["key"] for dimension in dimension_settings(rubric)]
        chosen = task.get("dimensions") or keys
        lines.append(
            f"- Rubric: {in_markdown(rubric.get('name', UNKNOWN))}, "
            f"version {in_markdown(rubric.get('version', UNKNOWN))}\n"
            f"- Dimensions: {in_markdown(', '.join(map(str, chosen))) or UNKNOWN}"
        )
    answers = "with a distribution over each scale; its mean is the expected score"
    if (config.get("model") or {}).get("head") == "regression":
        answers = "with one number each, from a regression head on the last hidden state"
    return (
        f"{kind} that takes a clip and answers the questions of a rubric {answers}. Made with dramaeval.\n\n"
        + "\n".join(lines)
    )


def _tasks(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The task of the run, or the tasks of its mixture."""
    task = config.get("task") or {}
    return list((task.get("tasks") or {}).values()) or [task]


def _data(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    about = metrics.get("about") or {}
    records = about.get("records") or {}
    rows = []
    for split in _splits(config):
        names = [_file(task.get("data") or {}, split) for task in _tasks(config)]
        files = ", ".join(dict.fromkeys(name for name in names if name))
        if files:
            rows.append([split, in_markdown(files), records.get(split, UNKNOWN)])
    if not rows:
        return f"## Data\n\n{UNKNOWN.capitalize()}."
    labels = dict.fromkeys(str(task.get("labels", UNKNOWN)) for task in _tasks(config))
    lines = ["## Data", "", _table(["split", "file", "records"], rows), ""]
    lines.append(f"Labels: {in_markdown(', '.join(labels))}.")
    lines += [f"Note: {in_markdown(overlap)}." for overlap in about.get("overlaps") or ()]
    for split, skipped in (about.get("skipped") or {}).items():
        lines.append(f"Skipped in {split}: {skipped['records']} records that could not be used.")
    return "\n".join(lines)


def _splits(config: Mapping[str, Any]) -> list[str]:
    """The names of the splits: train, val, and test or the named test sets."""
    data = [{**(task.get("data") or {}), "sample": None} for task in _tasks(config)]
    names = [name for settings in data for name in split_files(settings)]
    tests = dict.fromkeys(test_splits(names)) or {"test": None}
    return [*SPLITS[:2], *tests]


def _file(data: Mapping[str, Any], split: str) -> str | None:
    """The name of the file of a split; None without a file."""
    if file := split_files({**data, "sample": None}).get(split):
        return Path(file).name
    uses_sample = data and split in SPLITS and not names_records(data)
    return "the bundled sample" if uses_sample else None


def _agreement(metrics: Mapping[str, Any]) -> str:
    """The agreement of the final phase for each split: correlation and squared error, accuracy, or pairs."""
    parts = ["## Agreement with people"]
    for split in held_out_splits(metrics):
        summary = (metrics.get(split) or {}).get("final")
        if not summary:
            continue
        level = (summary.get("bootstrap") or {}).get("level")
        parts.append(f"`{split}`: mean with {level:.0%} interval" if level else f"`{split}`")
        rows = [
            [in_markdown(key), _cell(row, "pearson"), _cell(row, "mse"), row.get("n", "")]
            for key, row in [("all", summary["macro"]), *summary["dimensions"].items()]
        ]
        parts.append(_table(["dimension", "Pearson", "MSE", "n"], rows))
    for split, phases in (metrics.get("choices") or {}).items():
        if "final" in phases:
            categories = {**phases["final"]["categories"], "all": phases["final"]["overall"]}
            parts.append(f"`{split}`: accuracy of the likeliest option")
            rows = [[in_markdown(key), *_accuracy(row)] for key, row in categories.items()]
            parts.append(_table(["question", "accuracy", "chance", "n"], rows))
    for split, phases in (metrics.get("pairs") or {}).items():
        if summary := phases.get("final"):
            parts.append(
                f"`{split}`: pairs on which the judge prefers the raters' clip, without ties; all three verdicts"
            )
            rows = [
                [
                    in_markdown(key),
                    _cell(row, "accuracy_untied"),
                    _cell(row, "accuracy"),
                    row["pairs"],
                ]
                for key, row in [("all", summary["macro"]), *summary["dimensions"].items()]
            ]
            parts.append(_table(["dimension", "without ties", "with ties", "pairs"], rows))
    if len(parts) == 1:
        parts.append("Not measured.")
    return "\n\n".join(parts)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; texts in its cells are escaped already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)


def _accuracy(row: Mapping[str, Any]) -> list[Any]:
    likelihood, chance = row["likelihood"], row.get("chance")
    accuracy = _cell({**likelihood, "interval": {"accuracy": likelihood["interval"]}}, "accuracy")
    return [accuracy, "-" if chance is None else f"{chance:.2f}", likelihood["n"]]


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return "not defined"
    bounds = (row.get("interval") or {}).get(name)
    return f"{value:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")


def _loss(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The objective of a supervised training, or the estimator and the weights of rewards."""
    if "rewards" not in trainer:
        return {"objective": trainer.get("objective")}
    rewards = {name: node.get("weight", 1.0) for name, node in trainer["rewards"].items()}
    used = {f"reward {name}": f"weight {weight}" for name, weight in rewards.items() if weight}
    return {"estimator": trainer.get("estimator"), **used}


def _training(config: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    if not config:
        return f"## Training\n\n{UNKNOWN.capitalize()}."
    trainer = config.get("trainer") or {}
    settings: dict[str, Any] = {**_loss(trainer), "seed": config.get("seed")}
    if config.get("peft"):
        settings["peft"] = config["peft"].get("_target_")
        settings |= _arguments("peft", config["peft"])
        settings["adapt"] = config.get("adapt")
    else:
        settings["peft"] = "none (every weight)"
        for key in ("freeze_audio", "freeze_llm", "train_projector"):
            settings[f"model.{key}"] = (config.get("model") or {}).get(key)
    settings |= _arguments("quantization", config.get("quantization"))
    settings |= _arguments("trainer.args", trainer.get("args"))
    settings |= _arguments("batch", config.get("batch"))
    settings["dtype"] = environment.get("dtype")
    versions = environment.get("versions") or {}
    for name in ("dramaeval", "torch", "transformers", "peft", "trl"):
        settings[name] = versions.get(name)
    settings.pop("peft.tokenizer_name_or_path", None)  # a path of this machine
    rows = [
        [in_markdown(key), in_markdown(value)]
        for key, value in settings.items()
        if value is not None
    ]
    return "## Training\n\n" + _table(["setting", "value"], rows)


def _arguments(node: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values of a node by their full keys, without Hydra's keys such as ``_target_``."""
    return {f"{node}.{key}": value for key, value in (values or {}).items() if key[0] != "_"}


def _licence(base: str | None, licence: str | None) -> str:
    known = "not known: no card on this machine names it"
    if licence:
        known = f"{in_markdown(licence)}; it applies to models made from the base"
    shown = in_markdown(_shown(base) or UNKNOWN)
    return f"## Licence\n\nThe licence of the base, {shown}, is {known}. The data may have other terms."


def _read(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """The content of a file in the run folder; empty if the file is missing or damaged."""
    if not file.is_file():
        return {}
    try:
        damage = damage_of(file)
        values = {} if damage else parse(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        damage, values = f"{file.name} is damaged: {error}", {}
    if damage:
        log.warning("%s: %s. Its content is not known on the card.", file.parent, damage)
    return values if isinstance(values, dict) else {}
