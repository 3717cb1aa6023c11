"""Makes predictions of pairs from a judge's scores of the two clips or from its direct answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dramaeval.data.pair_format import SYSTEMS, VOTES
from dramaeval.data.records import Record
from dramaeval.evaluation.pair_predictions import Outcomes, PairPrediction
from dramaeval.models.forward.pair_outcomes import outcome_probabilities
from dramaeval.tasks.question import PairPlace, Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


def pair_predictions(
    record: Record,
    task: Task,
    questions: Sequence[Question],
    values: Sequence[np.ndarray],
    reason: str | None = None,
) -> Iterator[PairPrediction]:
    """Make a prediction for each dimension of a pair.

    Args:
        record: the pair.
        task: gives the votes.
        questions: the questions about the pair.
        values: for each question a distribution over its choices, or the value of a regression head.
        reason: why there are no values; it is logged.
    """
    answers: dict[str, dict[str, np.ndarray]] = {}
    about: dict[str, tuple[Dimension, PairPlace]] = {}
    for question, value in zip(questions, values, strict=False):
        (field,), place = question.answer_fields, question.pair
        if place is not None:
            answers.setdefault(field.dimension.key, {})[place.order] = value
            about.setdefault(field.dimension.key, (field.dimension, place))
    if reason or not answers:
        log.warning("Pair %s is not compared: %s.", record.id, reason or "it has no answers")
        return
    for key, by_order in answers.items():
        dimension, place = about[key]
        if not all(np.isfinite(value).all() for value in by_order.values()):
            log.warning("Pair %s, %s: the judge's answers are not finite.", record.id, key)
            continue
        outcome = (_direct if place.is_direct else _scored)(by_order, dimension, place)
        yield PairPrediction(**outcome, **_about(record, task, dimension))


def _scored(
    by_order: dict[str, np.ndarray], dimension: Dimension, place: PairPlace
) -> dict[str, Any]:
    """The outcome from the expected scores of the two clips."""
    scale = np.array(dimension.scale, dtype=np.float64)
    a, b = (
        float(value[0]) if len(value) == 1 else float(value[: len(scale)] @ scale)
        for value in (by_order["a"], by_order["b"])
    )
    p_b, p_tie, p_a = outcome_probabilities(a - b, place.slope, place.tie_weight)
    return {"p_a": p_a, "p_tie": p_tie, "p_b": p_b, "margin": a - b}


def _direct(
    by_order: dict[str, np.ndarray], dimension: Dimension, place: PairPlace
) -> dict[str, Any]:
    """The mean outcome over both orders of presentation.

    The choices of an answer are "the second clip is better", "tie", "the first clip is better".
    """
    second, tie, first = map(float, by_order["ab"][:3])
    order_ab: Outcomes = (first, tie, second)
    second, tie, first = map(float, by_order["ba"][:3])
    order_ba: Outcomes = (second, tie, first)
    p_a, p_tie, p_b = ((x + y) / 2 for x, y in zip(order_ab, order_ba, strict=True))
    return {
        "p_a": p_a, "p_tie": p_tie, "p_b": p_b, "order_ab": order_ab, "order_ba": order_ba,
    }  # fmt: skip


def _about(record: Record, task: Task, dimension: Dimension) -> dict[str, Any]:
    system_a, system_b = (record.text(key) for key in SYSTEMS)
    votes = task.ratings(record, dimension)
    return {
        "id": record.id,
        "dimension": dimension.key,
        "votes": tuple(None if vote is None else vote / VOTES[-1] for vote in votes),
        "raters": task.rater_info(record, dimension),
        "prompt": "\n".join(task.texts(record).values()) or None,
        "system_a": system_a,
        "system_b": system_b,
        "language": record.text("language"),
        "clip_a": str(record.clip),
        "clip_b": str(record.clip_b),
    }
