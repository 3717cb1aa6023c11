"""Reading of results to compare: run folders, and result folders of the published scripts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dramaeval.data.fingerprint import RECORDS, read_prints
from dramaeval.data.jsonl import json_lines
from dramaeval.data.manifest import DamagedFileError, damage_of
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.tasks.rubric import Dimension, Rubric, dimension_settings

#: The score that the published scripts write where they find no answer.
SCRIPTS_DEFAULT = 3.0
NO_ANSWER = "no answer in the script's output"
_MISSING = ("", "NA", "N/A")
_ANSWER = re.compile(r"<answer>.*?\d.*?</answer>", re.DOTALL | re.IGNORECASE)


class ResultsError(ValueError):
    """A folder has no results to compare; the message names each file and its problem."""


@dataclass(kw_only=True)
class Results:
    """One judge's predictions on one split.

    Attributes:
        name: name of the run.
        predictions: each record × dimension once.
        titles: titles of the dimensions by key, in the order of the rubric.
        split: the split of the data; None where it is not known.
        phase: zero_shot or final; None where it is not known.
        config: the settings of the run by dotted key; empty where they are not known.
        clips: hashes of the clips by record; empty where they are not known.
        notes: remarks for the reader.
    """

    name: str
    predictions: Sequence[Prediction]
    titles: Mapping[str, str]
    split: str | None = None
    phase: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    clips: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def is_run(folder: Path) -> bool:
    """Whether a folder is a run folder of dramaeval."""
    return any(folder.glob("predictions*.jsonl"))


def phases_in(folder: Path) -> dict[str, Path]:
    """The prediction files of a run by phase, in the order of the phases."""
    files = {
        "zero_shot": folder / "predictions.zero_shot.jsonl",
        "final": folder / "predictions.jsonl",
    }
    return {phase: file for phase, file in files.items() if file.is_file()}


def splits_in(folder: Path, phase: str | None) -> set[str]:
    """The splits that a run was evaluated on."""
    return set(_by_split(_phase_file(folder, phase)[1]))


def read_run(folder: Path, name: str, split: str, phase: str | None) -> Results:
    """The predictions of a run on a split.

    Raises:
        ResultsError: there are none.
    """
    chosen, file = _phase_file(folder, phase)
    by_split = _by_split(file)
    if split not in by_split:
        raise ResultsError(
            f"{folder} was not evaluated on {split}; it has {', '.join(by_split) or 'no split'}."
        )
    config = _config(folder)
    return Results(
        name=name,
        predictions=by_split[split],
        titles=_titles(config),
        split=split,
        phase=chosen,
        config=_flat(config),
        clips=_clips(folder / RECORDS, split),
    )


def _clips(file: Path, split: str) -> dict[str, str]:
    """The clips of a split by record; empty for a run of an earlier version, or if the file is damaged."""
    if not file.is_file() or damage_of(file):
        return {}
    prints = read_prints(file.read_text(encoding="utf-8")).get(split, [])
    return {entry.id: entry.clip for entry in prints if entry.clip}


def _phase_file(folder: Path, phase: str | None) -> tuple[str, Path]:
    files = phases_in(folder)
    chosen = phase or list(files)[-1]
    if chosen not in files:
        raise ResultsError(f"{folder} has no phase {chosen}; it has {', '.join(files)}.")
    return chosen, files[chosen]


def _by_split(file: Path) -> dict[str, list[Prediction]]:
    predictions: dict[str, list[Prediction]] = {}
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
            predictions.setdefault(split, []).append(Prediction.from_json(values))
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


def read_published(folder: Path, name: str, rubric: Rubric) -> Results:
    """Read the results of the published scripts: JSON arrays, one per dimension, in any files of the folder.

    The expected score is ``probability_score``, else ``model_score``. Where neither is a number, or where the
    scripts wrote 3 because the output has no answer, the item is unscored with that reason.

    Args:
        folder: the folder with the JSON files.
        name: name of the results.
        rubric: the dimensions with their annotation fields and scales.

    Raises:
        ResultsError: names every file and item that cannot be read.
    """
    predictions: list[Prediction] = []
    problems: list[str] = []
    seen: set[tuple[str, str]] = set()
    count_by_source = {"probability_score": 0, "model_score": 0, "unscored": 0}
    for file in sorted(folder.glob("*.json")):
        for number, item in enumerate(_items(file, problems), 1):
            where = f"{file.name}, item {number}"
            try:
                prediction, source = _published(item, file, rubric)
            except ValueError as error:
                problems.append(f"{where}: {error}")
                continue
            if (prediction.id, prediction.dimension) in seen:
                problems.append(f"{where}: {prediction.id} × {prediction.dimension} occurs twice")
                continue
            seen.add((prediction.id, prediction.dimension))
            predictions.append(prediction)
            count_by_source[source] += 1
    if not predictions and not problems:
        problems.append("it has neither predictions.jsonl nor a JSON array of results")
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:20])
        rest = f"\n  … and {len(problems) - 20:,} more" if len(problems) > 20 else ""
        raise ResultsError(f"{folder} cannot be compared:\n{shown}{rest}")
    sources = ", ".join(f"{count:,} {source}" for source, count in count_by_source.items() if count)
    return Results(
        name=name,
        predictions=predictions,
        titles={dimension.key: dimension.title for dimension in rubric.dimensions},
        notes=[f"{name}: the published scripts' results; scores from {sources}."],
    )


def _items(file: Path, problems: list[str]) -> Sequence[Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"{file.name}: {error}")
        return []
    if not isinstance(values, list):
        return []
    if all(isinstance(item, dict) and "ground_truth_ratings" in item for item in values):
        return values
    # The folder may have other JSON files; only a list that looks like results is an error.
    if any(isinstance(item, dict) and "id" in item for item in values):
        problems.append(f"{file.name}: an item has no ground_truth_ratings")
    return []


def _published(item: Mapping[str, Any], file: Path, rubric: Rubric) -> tuple[Prediction, str]:
    """One item as a prediction, and the key of its score."""
    if not isinstance(item.get("id"), str) or not item["id"]:
        raise ValueError("'id' must be text")
    dimension = _dimension(str(item.get("specific_dimension") or file.stem), rubric)
    given = item["ground_truth_ratings"]
    if not isinstance(given, dict):
        raise ValueError("'ground_truth_ratings' must be an object of lists")
    ratings = given.get(dimension.annotation, given.get(dimension.key))
    if not isinstance(ratings, list):
        raise ValueError(f"'ground_truth_ratings' has no list '{dimension.annotation}'")
    expected, source = _score(item)
    return Prediction(
        id=item["id"],
        dimension=dimension.key,
        scale=tuple(float(score) for score in dimension.scale),
        distribution=None,
        expected=expected,
        ratings=tuple(_rating(value) for value in ratings),
        state=SCORED if expected is not None else source,
    ), "unscored" if expected is None else source


def _dimension(named: str, rubric: Rubric) -> Dimension:
    wanted = _letters(named)
    for dimension in rubric.dimensions:
        names = (dimension.key, dimension.annotation, dimension.title)
        if wanted in map(_letters, names):
            return dimension
    known = ", ".join(dimension.key for dimension in rubric.dimensions)
    raise ValueError(
        f"specific_dimension {named!r} is not one of {known} (task=… selects the rubric)"
    )


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _score(item: Mapping[str, Any]) -> tuple[float | None, str]:
    """The score and its key; None and the reason where there is none."""
    values = {key: _number(item.get(key)) for key in ("probability_score", "model_score")}
    for key, value in values.items():
        if value is None:
            continue
        if value == SCRIPTS_DEFAULT and _without_answer(item):
            return None, NO_ANSWER
        return value, key
    return None, "neither probability_score nor model_score is a number"


def _without_answer(item: Mapping[str, Any]) -> bool:
    """Whether the item has an output without an answer."""
    outputs = [item[key] for key in ("raw_model_output", "evaluation_text") if item.get(key)]
    return bool(outputs) and not any(_ANSWER.search(str(text)) for text in outputs)


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _rating(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().upper() in _MISSING):
        return None
    number = _number(value)
    if number is None:
        raise ValueError(f"{value!r} is not a rating")
    return number
