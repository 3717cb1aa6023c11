"""Phrasing: how far a judge's scores move when the same is asked in other words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.evaluation.controls.setting import ControlContext, NotPossibleError
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.wordings import deviation
from dramaeval.tasks.task import Task
from dramaeval.tasks.wordings import PhrasingsError

WHAT = "the same judge, its scores averaged over several wordings of each question"


def phrasing(setting: ControlContext) -> tuple[list[Prediction], dict[str, Any]]:
    """Score every record under several wordings: the averaged judge, and the spread between wordings.

    The wordings are those of `Task.phrased`, ``evaluation.phrasings`` of them, the task's own the first.

    Raises:
        NotPossibleError: the task has one wording only.
    """
    try:
        tasks = setting.task.phrased(setting.phrasings, setting.seed)
    except PhrasingsError as error:
        raise NotPossibleError(str(error)) from None
    said = [_asked_in(setting, task) for task in tasks]
    return averaged(said), spread(said)


def _asked_in(setting: ControlContext, task: Task) -> list[Prediction]:
    return setting.score(setting.records, setting.record_encoder.for_task(task))


def averaged(said: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """The mean distribution (or of judges that give none, score) over the wordings; unscored where any is."""
    found = []
    for same in zip(*said, strict=True):
        first = same[0]
        lost = next((one for one in same if not one.scored), None)
        if lost is not None:
            found.append(replace(first, distribution=None, expected=None, state=lost.state))
            continue
        share = None
        if all(one.distribution is not None for one in same):
            share = tuple(np.mean([one.distribution for one in same], axis=0).tolist())
        expected = float(np.mean([one.expected for one in same]))
        found.append(replace(first, distribution=share, expected=expected))
    return found


def spread(said: Sequence[Sequence[Prediction]]) -> dict[str, Any]:
    """How far the expected scores of one question lie apart over the wordings, by dimension.

    ``mean_deviation`` is `deviation`, in score units; ``largest_range`` is the widest gap of any one record.
    ``n`` counts the records that every wording scored.
    """
    values: dict[str, list[list[float]]] = {}
    for same in zip(*said, strict=True):
        given = [one.expected for one in same if one.expected is not None]
        rows = values.setdefault(same[0].dimension, [])
        if len(given) == len(said):
            rows.append(given)
    return {
        "phrasings": len(said),
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
