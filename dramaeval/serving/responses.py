"""Builds the JSON answers of the routes from the results of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.api.pair_comparison import comparison_of_scores
from dramaeval.api.score_results import rewards
from dramaeval.serving.clips import RequestError
from dramaeval.serving.intake import Intake
from dramaeval.serving.schemas import RewardBody, chosen_json, number


def scores(intake: Intake, results: Sequence[Any], keys: Sequence[str]) -> dict[str, Any]:
    """The answer of ``POST /v1/score``."""
    return {
        "task": intake.task.name,
        "results": [{"scores": chosen_json(result, keys)} for result in results],
    }


def comparisons(intake: Intake, results: Sequence[Any], keys: Sequence[str]) -> dict[str, Any]:
    """The answer of ``POST /v1/compare``; the results are comparisons, or for each pair the scores of a, then of b.

    Raises:
        RequestError: a clip has no score.
    """
    compared = results
    if not intake.compares_directly:
        try:
            compared = [
                {key: comparison_of_scores(a[key], b[key], *intake.outcome_parameters) for key in a}
                for a, b in zip(results[::2], results[1::2], strict=True)
            ]
        except ValueError as error:
            raise RequestError([str(error)]) from None
    return {
        "task": intake.compared.name,
        "results": [{"dimensions": chosen_json(comparison, keys)} for comparison in compared],
    }


def check_weights(intake: Intake, body: RewardBody) -> None:
    """Check the weights of a request before its clips are scored.

    Raises:
        RequestError: a weight belongs to no dimension or is negative, or all weights are 0.
    """
    try:
        rewards([], intake.keys, body.weights, per_dimension=False)
    except ValueError as error:
        raise RequestError([str(error)]) from None


def rewards_of(intake: Intake, body: RewardBody, results: Sequence[Any]) -> dict[str, Any]:
    """The answer of ``POST /v1/reward``: ``rewards``, or ``score`` in the form of verl; a missing score is null."""
    values = rewards(results, intake.keys, body.weights, per_dimension=False).tolist()
    if body.solution_str is not None:
        return {"score": number(values[0])}
    return {"rewards": [number(value) for value in values]}


def rubric(intake: Intake, settings: Any) -> dict[str, Any]:
    """The answer of ``GET /v1/rubric``."""
    return {
        "task": intake.task.name,
        "scores_single_clips": not intake.compares_directly,
        "texts": {"required": intake.required, "optional": intake.optional},
        "dimensions": [
            {
                "key": dimension.key,
                "title": dimension.title,
                "description": dimension.description,
                "scale": dimension.scale,
                "labels": dimension.labels,
                "meanings": _meanings(dimension.scores),
            }
            for dimension in intake.task.dimensions
        ],
        "limits": {
            "clip_seconds": intake.reader.max_seconds,
            "trims_longer_clips": intake.reader.trims,
            "clips": intake.max_clips,
            "megabytes": settings.max_mb,
            "seconds_to_answer": settings.timeout_s,
        },
    }


def _meanings(scores: Mapping[float, str]) -> dict[str, str]:
    return {f"{score:g}": meaning for score, meaning in scores.items()}
