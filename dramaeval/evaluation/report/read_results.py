"""Reads results to compare from run folders; `published_results` reads the results of the published scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dramaeval.data.fingerprint import RECORDS, read_prints
from dramaeval.data.jsonl import json_lines
from dramaeval.data.manifest import DamagedFileError, damage_of
from dramaeval.evaluation.pair_predictions import PairPrediction, is_pair_line
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.published_convention import RawValues
from dramaeval.tasks.rubric import dimension_settings

METRICS = "metrics.json"


class ResultsError(ValueError):
    """A folder has no results to compare; the message names each file and its problem."""


@dataclass(kw_only=True)
class Results:
    """One judge's predictions on one split.

    Attributes:
        name: name of the run.
        predictions: the predictions on each record × dimension; empty for a judge of pairs.
        pairs: the predictions of a judge of pairs on each pair × dimension.
        titles: titles of the dimensions by key, in the order of the rubric.
        split: the split of the data; None if it is not known.
        config: the settings of the run by dotted key; empty if they are not known.
        clips: hashes of the clips by record; empty if they are not known.
        notes: remarks for the reader.
        published: the result of `published_figures`, if the run has it.
        raw: the raters' values as written in published results; empty for a run.
    """

    name: str
    predictions: Sequence[Prediction]
    pairs: Sequence[PairPrediction] = ()
    titles: Mapping[str, str]
    split: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    clips: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    published: Mapping[str, Any] | None = None
    raw: RawValues = field(default_factory=dict)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run folder of dramaeval."""
    return bool(phases_in(folder))


def phases_in(folder: Path) -> dict[str, Path]:
    """The prediction files of a run by phase, in the order of the phases."""
    files = {
        "zero_shot": folder / "predictions.zero_shot.jsonl",
        "final": folder / "predictions.jsonl",
    }
    return {phase: file for phase, file in files.items() if file.is_file()}


def splits_in(folder: Path, phase: str | None) -> list[str]:
    """The splits that a run was evaluated on, in the order of its predictions."""
    return list(_by_split(_phase_file(folder, phase)[1]))


def read_run(folder: Path, name: str, split: str, phase: str | None) -> Results:
    """Read the predictions of a run on a split.

    Raises:
        ResultsError: the run has no predictions on the split, or both scores and comparisons of pairs.
    """
    chosen, file = _phase_file(folder, phase)
    by_split = _by_split(file)
    if split not in by_split:
        raise ResultsError(
            f"{folder} was not evaluated on {split}; it has {', '.join(by_split) or 'no predictions'}. "
            "Set report.split=… to a split of every run, or evaluate the run on it: "
            f"stages=[evaluate] checkpoint={folder} task.data.test=…"
        )
    config = _config(folder)
    pairs = [p for p in by_split[split] if isinstance(p, PairPrediction)]
    predictions = [p for p in by_split[split] if isinstance(p, Prediction)]
    if pairs and predictions:
        raise ResultsError(
            f"{folder} has scores and comparisons of pairs (a mixture), which are not compared together: evaluate its "
            f"judge on one task first, stages=[evaluate] checkpoint={folder} task=pair task.data.test=…"
        )
    return Results(
        name=name,
        predictions=predictions,
        pairs=pairs,
        titles=_titles(config),
        split=split,
        config=_flat(config),
        clips=_clips(folder / RECORDS, split),
        published=_published(folder / METRICS, split, chosen),
    )


def _published(file: Path, split: str, phase: str) -> Mapping[str, Any] | None:
    """The published figures of a run; None if it has none or the file is damaged."""
    if not file.is_file() or damage_of(file):
        return None
    figures = json.loads(file.read_text(encoding="utf-8"))
    return ((figures.get(split) or {}).get(phase) or {}).get("published")


def _clips(file: Path, split: str) -> dict[str, str]:
    """Hashes of the clips of a split by record; empty for a run of an earlier version, or if the file is damaged."""
    if not file.is_file() or damage_of(file):
        return {}
    prints = read_prints(file.read_text(encoding="utf-8")).get(split, [])
    return {entry.id: entry.clip for entry in prints if entry.clip}


def _phase_file(folder: Path, phase: str | None) -> tuple[str, Path]:
    files = phases_in(folder)
    chosen = phase or list(files)[-1]
    if chosen not in files:
        raise ResultsError(
            f"{folder} has no phase {chosen}; it has {', '.join(files)}. "
            "Set report.phase=… to a phase of every run, or to null for the last one of each."
        )
    return chosen, files[chosen]


def _by_split(file: Path) -> dict[str, list[Prediction | PairPrediction]]:
    predictions: dict[str, list[Prediction | PairPrediction]] = {}
    if damage := damage_of(file):
        raise ResultsError(
            f"{file.parent}: {damage}. Start the run again in its folder: it replaces damaged files."
        )
    for number, line in json_lines(file):
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("it is not a JSON object")
            split = values.get("split")
            if split is None:
                raise ResultsError(
                    f"{file} has scores of clips without ratings (stages=[score]), which cannot be compared with "
                    "people. Evaluate with task.data.test=… instead."
                )
            if "options" in values:
                raise ResultsError(
                    f"{file} has answers to multiple-choice questions, which have no scores to compare: name "
                    "runs of one task with ratings."
                )
            read = PairPrediction if is_pair_line(values) else Prediction
            predictions.setdefault(split, []).append(read.from_json(values))
        except ResultsError:
            raise
        except ValueError as error:
            raise ResultsError(f"{file}, line {number}: {error}") from None
    return predictions


def _config(folder: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    from dramaeval.data.saved_settings import read_settings

    file = folder / "config.yaml"
    if not file.is_file():
        return {}
    try:
        return cast(dict[str, Any], OmegaConf.to_container(read_settings(file)))
    except DamagedFileError as error:
        raise ResultsError(str(error)) from None


def _titles(config: Mapping[str, Any]) -> dict[str, str]:
    rubric = (config.get("task") or {}).get("rubric") or {}
    return {dimension["key"]: dimension["title"] for dimension in dimension_settings(rubric)}


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        settings: dict[str, Any] = {}
        for name, inner in value.items():
            settings |= _flat(inner, f"{key}.{name}" if key else str(name))
        return settings
    return {key: value}
