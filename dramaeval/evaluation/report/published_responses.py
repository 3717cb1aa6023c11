"""Reads the answers of the zero-shot and few-shot scripts published with Speech-DRAME (arXiv 2511.01261).

The answers are JSONL with ``id``, ``model_name``, ``response`` (a JSON object with a score by dimension, as text) and
``audio_path``, without ratings. Several lines about a record are trials, whose scores are averaged, as in the published
scripts. A missing or unreadable score makes the record unscored, with the reason; the published scripts count it as 1.
If the scripts asked for each dimension separately, this 1 is already in the file and cannot be recognised.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from dramaeval.data.jsonl import UnreadableFileError, read_lines
from dramaeval.data.problems import counted, first_of
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.evaluation.report.published_results import (
    as_number,
    only_letters,
    require_no_problems,
    result_files,
    result_items,
)
from dramaeval.evaluation.report.read_results import Results, ResultsError

NOT_AN_OBJECT = "the response is no JSON object"
NO_RESPONSE = "the model gave no response"
NO_SCORE = "the response has no score of this dimension"
OFF_SCALE = "the score is off the scale"
_FENCE = re.compile(r"```(?:json)?")


def has_responses(path: Path) -> bool:
    """Whether a path is JSONL, or a folder with JSONL files."""
    return bool(result_files(path, "jsonl"))


def read_responses(path: Path, name: str, rated: Sequence[Results]) -> Results:
    """Read the answers of one model; the ratings come from other results on the same records.

    A record is identified by ``id`` or by the name of the file in ``audio_path``, both without ``.wav``.

    Args:
        path: a JSONL file, or a folder of JSONL files, which are trials of one model.
        name: name of the results.
        rated: results with ratings.

    Raises:
        ResultsError: lines cannot be read (the message names all of them), no line is about a rated record, or the
            lines are from several models.
    """
    pairs: dict[str, list[Prediction]] = {}
    for prediction in {
        (p.id, p.dimension): p for results in reversed(rated) for p in results.predictions
    }.values():
        pairs.setdefault(prediction.id, []).append(prediction)
    if not pairs:
        raise ResultsError(
            f"{path} has answers without ratings: name a run on the same records in runs=[…] too, whose ratings are taken."
        )
    lines = _lines(path)
    ids = {_without_suffix(record_id): record_id for record_id in pairs}
    answers: dict[str, list[Mapping[str, Any] | str]] = {}
    others: list[str] = []
    problems: list[str] = []
    for line in lines:
        names = _names(line)
        records = sorted({ids[name] for name in names if name in ids})
        if len(records) > 1:
            problems.append(f"id and audio_path are those of two records, {' and '.join(records)}")
        elif records:
            answers.setdefault(records[0], []).append(_scores(line))
        else:
            others.append(next(iter(names), "a line without id and audio_path"))
    require_no_problems(problems, path)
    if not answers:
        raise ResultsError(
            f"{path}: no line is about a record of the runs beside it. It is about {first_of(others)}; the runs have "
            f"{first_of(sorted(pairs))}."
        )
    predictions = [
        _answered(prediction, answers[record_id])
        for record_id in answers
        for prediction in pairs[record_id]
    ]
    return Results(
        name=name,
        predictions=predictions,
        titles={key: title for results in rated for key, title in results.titles.items()},
        notes=_notes(name, _model(lines, path), predictions, answers, others),
    )


def _lines(path: Path) -> list[Mapping[str, Any]]:
    problems = [
        f"{file.name} has results of the fine-tuning scripts: name it, or its folder without JSONL, beside this one"
        for file in (result_files(path, "json") if path.is_dir() else ())
        if result_items(file, [])
    ]
    lines: list[Mapping[str, Any]] = []
    for file in result_files(path, "jsonl"):
        try:
            read = read_lines(file)
        except UnreadableFileError as error:
            problems.append(f"{file.name}: {error.finding.problem}")
            continue
        if any({"dimension", "expected"} <= set(line.fields or ()) for line in read):
            problems.append(f"{file.name} has the predictions of a run: name the folder of the run")
        for line in read:
            problems += [
                f"{file.name}, line {line.number}: {finding.problem}" for finding in line.findings
            ]
            lines += [line.fields] if line.fields is not None else []
    require_no_problems(problems, path)
    return lines


def _model(lines: Iterable[Mapping[str, Any]], path: Path) -> str:
    models = sorted({str(line["model_name"]) for line in lines if line.get("model_name")})
    if len(models) > 1:
        raise ResultsError(
            f"{path} has answers of several models ({', '.join(models)}): name the file of each in runs=[…]."
        )
    return models[0] if models else "an unnamed model"


def _names(line: Mapping[str, Any]) -> list[str]:
    """The names that may identify the record of a line."""
    clip = line.get("audio_path")
    names = [
        line.get("id"),
        PurePosixPath(clip.replace("\\", "/")).name if isinstance(clip, str) else None,
    ]
    return [_without_suffix(name) for name in names if isinstance(name, str) and name]


def _without_suffix(name: str) -> str:
    return name.removesuffix(".wav")


def _scores(line: Mapping[str, Any]) -> Mapping[str, Any] | str:
    """The values of a response, by `only_letters` of their keys; or the reason why there are none.

    If a line has no ``response``, its own keys have the scores.
    """
    if line.get("error"):
        return NO_RESPONSE
    response = line.get("response", line)
    if isinstance(response, str):
        try:
            response = json.loads(_FENCE.sub("", response).strip())
        except (ValueError, RecursionError):
            return NOT_AN_OBJECT
    if not isinstance(response, Mapping):
        return NO_RESPONSE if response is None else NOT_AN_OBJECT
    return {only_letters(key): value for key, value in response.items()}


def _answered(rated: Prediction, answers: Sequence[Mapping[str, Any] | str]) -> Prediction:
    """Replace the score of a rated prediction by the mean score over the trials."""
    key = only_letters(rated.dimension.rpartition("/")[2])
    scores, reasons = [], []
    for answer in answers:
        score = None if isinstance(answer, str) else as_number(answer.get(key))
        if isinstance(answer, str):
            reasons.append(answer)
        elif score is None:
            reasons.append(NO_SCORE)
        elif not rated.scale[0] <= score <= rated.scale[-1]:
            reasons.append(OFF_SCALE)
        else:
            scores.append(score)
    return replace(
        rated,
        expected=math.fsum(scores) / len(scores) if scores else None,
        state=SCORED if scores else reasons[0],
        distribution=None,
        wordings=None,
    )


def _notes(
    name: str,
    model: str,
    predictions: Sequence[Prediction],
    answers: Mapping[str, Sequence[Any]],
    others: Sequence[str],
) -> list[str]:
    trials = sum(map(len, answers.values()))
    notes = [
        f"{name}: answers of {model} to {counted(len(answers), 'record')} in {counted(trials, 'line')}, with the ratings "
        "of the runs beside it."
    ]
    states = Counter(prediction.state for prediction in predictions if not prediction.scored)
    notes += [
        f"{name}: {counted(number, 'answer')} unscored: {state}."
        for state, number in states.items()
    ]
    if others:
        notes.append(
            f"{name}: {counted(len(others), 'line')} left out, about records that no run beside it has "
            f"({first_of(sorted(set(others)))})."
        )
    return notes
