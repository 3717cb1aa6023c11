"""Model cards: what a judge was made of, how well it agrees with people, and under which licence.

A card is written from the run folder's own files, so that it says what the run says; what they do not hold is
"not known", never a guess.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dramaeval.config.schema import SPLITS
from dramaeval.config.secrets import without_secrets
from dramaeval.data.manifest import damage_of
from dramaeval.evaluation.report.markup import in_markdown

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
        folder: the judge's, an adapter's or a full model's.
        run: the run folder that made it; None where it is not at hand.
        adapter: where the adapter's settings lie, if not in ``folder``.
        merged: whether an adapter was worked into the weights.
    """
    config = _read_yaml(run / "config.yaml") if run else {}
    metrics = _read_json(run / "metrics.json") if run else {}
    environment = _read_json(run / "environment.json") if run else {}
    settings = _read_json((adapter or folder) / "adapter_config.json")
    text = card(config, metrics, environment, settings, merged=merged)
    unfinished = folder / (NAME + ".unfinished")
    unfinished.write_text(without_secrets(text), encoding="utf-8")
    unfinished.replace(folder / NAME)


def card(
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    environment: Mapping[str, Any],
    adapter: Mapping[str, Any],
    *,
    merged: bool = False,
) -> str:
    """The card as Markdown; see `write_card`."""
    base = _base(config, adapter)
    licence = licence_of(base) if base else None
    head = {
        "base_model": _shown(base),
        "library_name": "peft" if adapter and not merged else "transformers",
        **({"license": licence} if licence else {}),
        "tags": ["dramaeval", "speech", "judge"],
    }
    front = yaml.safe_dump({key: value for key, value in head.items() if value}, sort_keys=False)
    sections = [
        f"---\n{front}---\n\n{TITLE}",
        _what(config, adapter, merged),
        _data(config, metrics),
        _agreement(metrics),
        _training(config, environment),
        _licence(base, licence),
    ]
    return "\n\n".join(sections) + "\n"


def is_ours(file: Path) -> bool:
    """Whether a card was written here, rather than a library's blank form."""
    return file.is_file() and TITLE in file.read_text(encoding="utf-8")


def licence_of(base: str) -> str | None:
    """The licence that a base's own model card names; None where there is no card or it names none.

    Args:
        base: a folder, or a name on the hub, of which only what is cached here is read.
    """
    for file in _cards_of(base):
        lines = file.read_text(encoding="utf-8").splitlines()
        if not lines or lines[0].strip() != "---" or "---" not in (rest := lines[1:]):
            continue
        try:
            head = yaml.safe_load("\n".join(rest[: rest.index("---")]))
        except yaml.YAMLError:
            continue
        found = head.get("license_name") or head.get("license") if isinstance(head, dict) else None
        if found:
            return ", ".join(map(str, found)) if isinstance(found, list) else str(found)
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
    if named := adapter.get("base_model_name_or_path"):
        return str(named)
    started = Path(config.get("checkpoint") or "").expanduser()
    if config.get("checkpoint"):
        for folder in (started, started / "model", started / "export"):
            if (folder / "config.json").is_file():
                return str(folder)
    return (config.get("model") or {}).get("path")


def _shown(base: str | None) -> str | None:
    """A base as others may know it: a folder of this machine by its last name."""
    if base is None:
        return None
    return Path(base).name if Path(base).is_absolute() or Path(base).is_dir() else base


def _what(config: Mapping[str, Any], adapter: Mapping[str, Any], merged: bool) -> str:
    method = in_markdown(adapter.get("peft_type", UNKNOWN))
    kind = f"An adapter ({method})" if adapter else "A full model"
    if merged:
        kind = "A full model with a trained adapter merged into its weights"
    told = []
    for task in _tasks(config):
        rubric = task.get("rubric") or {}
        asked = [one["key"] for one in rubric.get("dimensions", [])]
        chosen = task.get("dimensions") or asked
        told.append(
            f"- Rubric: {in_markdown(rubric.get('name', UNKNOWN))}, "
            f"version {in_markdown(rubric.get('version', UNKNOWN))}\n"
            f"- Dimensions: {in_markdown(', '.join(map(str, chosen))) or UNKNOWN}"
        )
    answers = "a distribution over each scale; the mean of that is the expected score"
    if (config.get("model") or {}).get("head") == "regression":
        answers = "one number each, off its last hidden state (a regression head)"
    return (
        f"{kind} that hears a clip and answers a rubric's questions with {answers}. Made with dramaeval.\n\n"
        + "\n".join(told)
    )


def _tasks(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The run's task, or the tasks of its mixture."""
    task = config.get("task") or {}
    return list((task.get("tasks") or {}).values()) or [task]


def _data(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    about = metrics.get("about") or {}
    records = about.get("records") or {}
    lines = ["## Data", "", "| split | file | records |", "| --- | --- | --- |"]
    for split in SPLITS:
        names = [_file(task.get("data") or {}, split) for task in _tasks(config)]
        named = ", ".join(dict.fromkeys(name for name in names if name))
        if named:
            lines.append(f"| {split} | {in_markdown(named)} | {records.get(split, UNKNOWN)} |")
    if len(lines) == 4:
        return f"## Data\n\n{UNKNOWN.capitalize()}."
    labels = dict.fromkeys(str(task.get("labels", UNKNOWN)) for task in _tasks(config))
    lines += ["", f"Labels: {in_markdown(', '.join(labels))}."]
    lines += [f"Note: {in_markdown(told)}." for told in about.get("overlaps") or ()]
    for split, skipped in (about.get("skipped") or {}).items():
        lines.append(f"Skipped in {split}: {skipped['records']} records that could not be used.")
    return "\n".join(lines)


def _file(data: Mapping[str, Any], split: str) -> str | None:
    """The name of a split's file, or that it is the sample's; None where there is none."""
    if data.get(split):
        return Path(data[split]).name
    given = any(data.get(one) for one in SPLITS)
    return "the bundled sample" if data and not given else None


def _agreement(metrics: Mapping[str, Any]) -> str:
    """The final phase of each split, correlation and squared error with their intervals."""
    parts = ["## Agreement with people"]
    for split in ("val", "test"):
        found = (metrics.get(split) or {}).get("final")
        if not found:
            continue
        level = (found.get("bootstrap") or {}).get("level")
        heading = f"`{split}`: mean with {level:.0%} interval" if level else f"`{split}`"
        rows = [("all", found["macro"]), *found["dimensions"].items()]
        lines = [
            f"| {in_markdown(key)} | {_cell(row, 'pearson')} | {_cell(row, 'mse')} | {row.get('n', '')} |"
            for key, row in rows
        ]
        head = "| dimension | Pearson | MSE | n |\n| --- | --- | --- | --- |\n"
        parts.append(f"{heading}\n\n{head}" + "\n".join(lines))
    for split, phases in (metrics.get("choices") or {}).items():
        if "final" in phases:
            asked = {**phases["final"]["categories"], "all": phases["final"]["overall"]}
            parts.append(
                f"`{split}`: accuracy of the likeliest option\n\n| question | accuracy | chance | n |\n"
                "| --- | --- | --- | --- |\n"
                + "\n".join(
                    f"| {in_markdown(key)} | {_accuracy(row)} |" for key, row in asked.items()
                )
            )
    if len(parts) == 1:
        parts.append("Not measured.")
    return "\n\n".join(parts)


def _accuracy(row: Mapping[str, Any]) -> str:
    found, chance = row["likelihood"], row.get("chance")
    shown = {**found, "interval": {"accuracy": found["interval"]} if found["interval"] else {}}
    return (
        f"{_cell(shown, 'accuracy')} | {'-' if chance is None else f'{chance:.2f}'} | {found['n']}"
    )


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return "not defined"
    bounds = (row.get("interval") or {}).get(name)
    return f"{value:.3f}" + (f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else "")


def learnt_by(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """What training lowered, or the rewards that it raised, as far as they were in use."""
    if "rewards" not in trainer:
        return {"objective": trainer.get("objective")}
    rewards = {name: node.get("weight", 1.0) for name, node in trainer["rewards"].items()}
    told = {f"reward {name}": f"weight {weight}" for name, weight in rewards.items() if weight}
    return {"estimator": trainer.get("estimator"), **told}


def _training(config: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    if not config:
        return f"## Training\n\n{UNKNOWN.capitalize()}."
    trainer = config.get("trainer") or {}
    told: dict[str, Any] = {**learnt_by(trainer), "seed": config.get("seed")}
    if config.get("peft"):
        told["peft"] = config["peft"].get("_target_")
        told |= {f"peft.{key}": value for key, value in config["peft"].items() if key[0] != "_"}
        told["adapt"] = config.get("adapt")
    else:
        told["peft"] = "none (every weight)"
        for key in ("freeze_audio", "train_projector"):
            told[f"model.{key}"] = (config.get("model") or {}).get(key)
    quantization = config.get("quantization") or {}
    told |= {f"quantization.{key}": value for key, value in quantization.items() if key[0] != "_"}
    args = trainer.get("args") or {}
    told |= {f"trainer.args.{key}": value for key, value in args.items() if key[0] != "_"}
    told |= {f"batch.{key}": value for key, value in (config.get("batch") or {}).items()}
    told["dtype"] = environment.get("dtype")
    versions = environment.get("versions") or {}
    for name in ("dramaeval", "torch", "transformers", "peft", "trl"):
        told[name] = versions.get(name)
    told.pop("peft.tokenizer_name_or_path", None)  # a path of this machine
    rows = [
        f"| {in_markdown(key)} | {in_markdown(value)} |"
        for key, value in told.items()
        if value is not None
    ]
    return "## Training\n\n| setting | value |\n| --- | --- |\n" + "\n".join(rows)


def _licence(base: str | None, licence: str | None) -> str:
    shown = in_markdown(_shown(base) or UNKNOWN)
    if licence:
        named = in_markdown(licence)
        text = f"The base, {shown}, names its licence as {named}; it binds what is made from it."
    else:
        text = (
            f"The licence of the base, {shown}, is not known: it has no card here that names one."
        )
    return f"## Licence\n\n{text} The data may have terms of its own."


def _read_json(file: Path) -> dict[str, Any]:
    return _read(file, json.loads)


def _read_yaml(file: Path) -> dict[str, Any]:
    return _read(file, yaml.safe_load)


def _read(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """What a file of the run folder holds; nothing where it is not there or damaged, as the card then says."""
    if not file.is_file():
        return {}
    try:
        damage = damage_of(file)
        values = {} if damage else parse(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        damage, values = f"{file.name} is damaged: {error}", {}
    if damage:
        log.warning("%s: %s. The card says that what it holds is not known.", file.parent, damage)
    return values if isinstance(values, dict) else {}
