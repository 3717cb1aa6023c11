"""Reads the results of the fine-tuning scripts published with Speech-DRAME (arXiv 2511.01261).

The results are JSON arrays of objects with ``ground_truth_ratings``, and either ``specific_dimension`` with
``probability_score`` and ``model_score``, or ``dimension_scores`` with all dimensions
(``evaluation_type=comprehensive``).
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dramaeval.data.raters import is_missing
from dramaeval.evaluation.predictions import SCORED, Prediction, first_problems
from dramaeval.evaluation.report.read_results import Results, ResultsError
from dramaeval.tasks.rubric import Dimension, Rubric

#: The score that the published scripts write if they find no answer.
SCRIPTS_DEFAULT = 3.0
NO_ANSWER = "no answer in the script's output"
_ANSWER = re.compile(r"<answer>.*?\d.*?</answer>", re.DOTALL | re.IGNORECASE)


def read_published(folder: Path, name: str, rubric: Rubric) -> Results:
    """Read the results of the fine-tuning scripts: JSON arrays in any files of the folder.

    The expected score is ``probability_score``, or ``model_score`` without it; an item with ``dimension_scores`` has one
    for each dimension. An item is unscored, with the reason, if its score is no number, or if the score is the 3 that
    the scripts write for an output without an answer.

    Args:
        folder: the folder with the JSON files, or one of the files.
        name: name of the results.
        rubric: the dimensions with their annotation fields and scales.

    Raises:
        ResultsError: files or items cannot be read; the message names all of them.
    """
    predictions: list[Prediction] = []
    problems: list[str] = []
    count_by_source: Counter[str] = Counter()
    raw: dict[tuple[str, str], Sequence[Any]] = {}
    for file in result_files(folder, "json"):
        for number, item in enumerate(result_items(file, problems), 1):
            where = f"{file.name}, item {number}"
            try:
                parsed = list(_of_item(item, file, rubric))
            except ValueError as error:
                problems.append(f"{where}: {error}")
                continue
            for prediction, source in parsed:
                key = (prediction.id, prediction.dimension)
                if key in raw:
                    problems.append(f"{where}: {' × '.join(key)} occurs twice")
                    continue
                predictions.append(prediction)
                raw[key] = _written(item, rubric[prediction.dimension])
                count_by_source[source] += 1
    if not predictions and not problems:
        problems.append("it has neither predictions.jsonl nor a JSON array of results")
    require_no_problems(problems, folder)
    sources = ", ".join(f"{count:,} {source}" for source, count in count_by_source.items())
    return Results(
        name=name,
        predictions=predictions,
        titles={dimension.key: dimension.title for dimension in rubric.dimensions},
        notes=[f"{name}: the published scripts' results; scores from {sources}."],
        raw=raw,
    )


def result_files(path: Path, suffix: str) -> list[Path]:
    """The files with this suffix in a folder, or the file itself if it has the suffix."""
    if path.is_dir():
        return sorted(path.glob(f"*.{suffix}"))
    return [path] if path.suffix == f".{suffix}" else []


def require_no_problems(problems: Sequence[str], path: Path) -> None:
    """Raise `ResultsError` with the first problems of a folder or file, if there are problems."""
    if problems:
        raise ResultsError(f"{path} cannot be compared:\n{first_problems(problems)}")


def result_items(file: Path, problems: list[str]) -> Sequence[Any]:
    """The items of a JSON file of results; empty for another JSON file. Problems are added to ``problems``."""
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


def _of_item(
    item: Mapping[str, Any], file: Path, rubric: Rubric
) -> Iterator[tuple[Prediction, str]]:
    """Make the predictions of an item, each with the key of its score."""
    if not isinstance(item.get("id"), str) or not item["id"]:
        raise ValueError("'id' must be text")
    if "dimension_scores" not in item:
        dimension = _dimension(str(item.get("specific_dimension") or file.stem), rubric)
        yield _prediction(item, dimension, *_score(item))
        return
    scores = item["dimension_scores"]
    if not isinstance(scores, dict):
        raise ValueError("'dimension_scores' must be an object of scores")
    for named, value in scores.items():
        score = as_number(value)
        source = NO_ANSWER if score is None else "dimension_scores"
        yield _prediction(item, _dimension(named, rubric), score, source)


def _prediction(
    item: Mapping[str, Any], dimension: Dimension, expected: float | None, source: str
) -> tuple[Prediction, str]:
    """Make the prediction of an item on a dimension; ``source`` is the key of the score, or the reason for None."""
    ratings = _written(item, dimension)
    return Prediction(
        id=item["id"],
        dimension=dimension.key,
        scale=tuple(float(score) for score in dimension.scale),
        distribution=None,
        expected=expected,
        ratings=tuple(_rating(value) for value in ratings),
        state=SCORED if expected is not None else source,
    ), "unscored" if expected is None else source


def _written(item: Mapping[str, Any], dimension: Dimension) -> list[Any]:
    """The raters' values as written in the item."""
    by_name = item["ground_truth_ratings"]
    if not isinstance(by_name, dict):
        raise ValueError("'ground_truth_ratings' must be an object of lists")
    ratings = by_name.get(dimension.annotation, by_name.get(dimension.key))
    if not isinstance(ratings, list):
        raise ValueError(f"'ground_truth_ratings' has no list '{dimension.annotation}'")
    return ratings


def _dimension(named: str, rubric: Rubric) -> Dimension:
    for dimension in rubric.dimensions:
        names = (dimension.key, dimension.annotation, dimension.title)
        if only_letters(named) in map(only_letters, names):
            return dimension
    keys = ", ".join(dimension.key for dimension in rubric.dimensions)
    raise ValueError(
        f"specific_dimension {named!r} is not one of {keys} (task=… selects the rubric)"
    )


def only_letters(name: str) -> str:
    """The letters and digits of a name, without case: the same for ``PitchDynamics`` and ``pitch_dynamics``."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _score(item: Mapping[str, Any]) -> tuple[float | None, str]:
    """The score and its key; None and the reason if there is no score."""
    outputs = [str(item[key]) for key in ("raw_model_output", "evaluation_text") if item.get(key)]
    without_answer = outputs and not any(map(_ANSWER.search, outputs))
    for key in ("probability_score", "model_score"):
        if (value := as_number(item.get(key))) is not None:
            default = value == SCRIPTS_DEFAULT and without_answer
            return (None, NO_ANSWER) if default else (value, key)
    return None, "neither probability_score nor model_score is a number"


def as_number(value: Any) -> float | None:
    """Convert a number, a text that is a number, or a bool (1 or 0) to float; None for any other value."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _rating(value: Any) -> float | None:
    if is_missing(value):
        return None
    number = as_number(value)
    if number is None:
        raise ValueError(f"{value!r} is not a rating")
    return number
