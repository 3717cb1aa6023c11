"""Phrasing: how much the judge's scores vary over several wordings of the same question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.evaluation.controls.control_context import ControlContext, NotPossibleError
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.score_spread import deviation
from dramaeval.tasks.wordings import PhrasingsError

DESCRIPTION = "the same judge, its scores averaged over several wordings of each question"
FURTHER_RESULTS = "spread"
SETTINGS = ("phrasings",)


def phrasing(context: ControlContext) -> tuple[list[Prediction], dict[str, Any]]:
    """Score every record under several wordings; return the mean predictions and the spread between wordings.

    `Task.wording_variants` gives ``evaluation.phrasings`` wordings; the first is the task's own.

    Raises:
        NotPossibleError: the task has only one wording.
    """
    try:
        tasks = context.task.wording_variants(context.phrasings, context.seed)
    except PhrasingsError as error:
        raise NotPossibleError(str(error)) from None
    by_wording = [
        context.score(context.records, context.record_encoder.for_task(task)) for task in tasks
    ]
    return averaged(by_wording), spread(by_wording)


def averaged(by_wording: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """The mean distribution over the wordings (mean score without distributions); unscored if any wording is."""
    means = []
    for same in zip(*by_wording, strict=True):
        first = replace(same[0], wordings=None, thoughts=None, thought_texts=None)
        unscored = next((prediction for prediction in same if not prediction.scored), None)
        if unscored is not None:
            means.append(replace(first, distribution=None, expected=None, state=unscored.state))
            continue
        distribution = None
        distributions = [prediction.distribution for prediction in same]
        if None not in distributions:
            distribution = tuple(np.mean(distributions, axis=0).tolist())
        expected = float(np.mean([prediction.expected for prediction in same]))
        means.append(replace(first, distribution=distribution, expected=expected))
    return means


def spread(by_wording: Sequence[Sequence[Prediction]]) -> dict[str, Any]:
    """How much the expected scores of one question vary over the wordings, by dimension.

    ``mean_deviation`` is the `deviation`, and ``largest_range`` the largest range of a record over the wordings, both
    in score units. ``n`` counts the records that are scored under every wording.
    """
    values: dict[str, list[list[float]]] = {}
    for same in zip(*by_wording, strict=True):
        scores = [prediction.expected for prediction in same if prediction.expected is not None]
        rows = values.setdefault(same[0].dimension, [])
        if len(scores) == len(by_wording):
            rows.append(scores)
    return {
        "phrasings": len(by_wording),
        "dimensions": {key: _spread_of(rows) for key, rows in values.items()},
    }


def _spread_of(rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    if not rows:
        return {"mean_deviation": None, "largest_range": None, "n": 0}
    table = np.array(rows)
    return {
        "mean_deviation": deviation(table),
        "largest_range": float(np.ptp(table, axis=1).max()),
        "n": len(table),
    }
