"""What every page of a run has: what to mind, training curves, what it ran on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dramaeval.data.records import Record
from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.curves import read_curves
from dramaeval.evaluation.report.tables import Cell, Column, Table

#: Versions worth a line; environment.json has all of them.
VERSIONS = ("dramaeval", "torch", "transformers", "peft", "trl", "librosa")


@dataclass(frozen=True, kw_only=True)
class PageSettings:
    """What every page of a run is made of.

    Attributes:
        name: of the run, for the title.
        metrics: the whole of metrics.json.
        split: the one that is told in full.
        records: that split's, for clips and texts.
        config: the resolved configuration, as YAML.
        environment: the whole of environment.json.
        tensorboard: folder of the curves.
        max_seconds: of a clip that is heard.
        facts: about the run, for its head.
    """

    name: str
    metrics: Mapping[str, Any]
    split: str
    records: Sequence[Record]
    config: str
    environment: Mapping[str, Any]
    tensorboard: Path
    max_seconds: float
    facts: Sequence[str]


def warnings(metrics: Mapping[str, Any]) -> list[str]:
    """What makes the figures less sure than they look."""
    told = [f"Scores may flatter: {one}." for one in metrics["about"].get("overlaps") or ()]
    for split, skipped in (metrics["about"].get("skipped") or {}).items():
        told.append(f"{skipped['records']:,} records of {split} could not be used; see Run.")
    return told


def told(metrics: Mapping[str, Any]) -> list[str]:
    """How scores were read where there are several ways, and what was out of the ordinary about records."""
    about = metrics["about"]
    found = [
        f"Scoring: {key.replace('_', ' ')} = {value}."
        for key, value in (about.get("scoring") or {}).items()
    ]
    for split, remarks in (about.get("remarks") or {}).items():
        found += [f"{count:,} records of {split} {text}." for text, count in remarks.items()]
    return found


def curves(folder: Path) -> list[dict[str, Any]]:
    """The curves of a TensorBoard folder as pictures with titles; none where there are none."""
    found = read_curves(folder)
    wanted = (
        ("Loss", {"training": "train/loss", "validation": "eval/loss"}, "loss"),
        ("Validation correlation", {"validation": "eval/pearson"}, "Pearson"),
        ("Learning rate", {"training": "train/learning_rate"}, "rate"),
        ("Gradient norm", {"training": "train/grad_norm"}, "norm"),
    )
    made = []
    for title, tags, ylabel in wanted:
        series = {label: found[tag] for label, tag in tags.items() if found.get(tag)}
        if series:
            name = f"curve-{title.lower().replace(' ', '-')}"
            made.append({"title": title, "picture": plots.curve(name, title, series, ylabel)})
    return made


def surroundings(about: Mapping[str, Any]) -> Table:
    """``environment.json`` as a table."""
    rows = [
        [Cell(name), Cell(str(about[name]))]
        for name in ("device", "gpu", "dtype", "processes", "seed", "commit", "python", "platform")
        if about.get(name) is not None
    ]
    versions = about.get("versions") or {}
    rows += [[Cell(name), Cell(str(versions[name]))] for name in VERSIONS if versions.get(name)]
    columns = [Column("What", numeric=False), Column("Value", numeric=False)]
    return Table("Ran on", columns, rows)


def skipped(metrics: Mapping[str, Any]) -> list[str]:
    """The records that could not be used, a line each."""
    told = []
    for split, left in (metrics["about"].get("skipped") or {}).items():
        told += [
            f"{split}, line {one['line']}, id {one['id']}, {one['key']}: {one['problem']}"
            for one in left["problems"][:20]
        ]
        if (rest := len(left["problems"]) - 20) > 0:
            told.append(f"{split}: and {rest:,} more problems, listed in metrics.json")
    return told
