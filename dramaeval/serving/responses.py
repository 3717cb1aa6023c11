"""Builds the answers of the routes: JSON from the results of jobs, and the web page."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dramaeval.api.pair_comparison import comparison_of_scores
from dramaeval.api.score_results import rewards
from dramaeval.serving.clips import RequestError
from dramaeval.serving.intake import Intake
from dramaeval.serving.schemas import RewardBody

PAGE = Path(__file__).with_name("page.html.j2")
#: Values of a `Score` that are null in the answer if there is no score.
_NULLABLE = ("expected", "spread", "distribution")


def scores(intake: Intake, results: Sequence[Any], keys: Sequence[str]) -> dict[str, Any]:
    """The answer of ``POST /v1/score``."""
    return {
        "task": intake.task.name,
        "results": [{"scores": _chosen(result, keys)} for result in results],
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
        "results": [{"dimensions": _chosen(comparison, keys)} for comparison in compared],
    }


def check_weights(intake: Intake, body: RewardBody) -> None:
    """Check the weights of a request before its clips are scored.

    Raises:
        RequestError: a weight belongs to no dimension, is negative or not finite, or all weights are 0.
    """
    try:
        rewards([], intake.keys, body.weights, per_dimension=False)
    except ValueError as error:
        raise RequestError([str(error)]) from None


def rewards_of(intake: Intake, body: RewardBody, results: Sequence[Any]) -> dict[str, Any]:
    """The answer of ``POST /v1/reward``: ``rewards``, or ``score`` in the form of verl; a missing score is null."""
    values = rewards(results, intake.keys, body.weights, per_dimension=False).tolist()
    if body.solution_str is not None:
        return {"score": _number(values[0])}
    return {"rewards": [_number(value) for value in values]}


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
                "meanings": {f"{score:g}": text for score, text in dimension.scores.items()},
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


def page(title: str, *, needs_token: bool) -> tuple[str, str]:
    """The web page, which loads no file from another server, and its Content-Security-Policy.

    The policy allows the page's style and script, requests to this server, and clips that the user has chosen.

    Args:
        title: the title of the page.
        needs_token: whether the page asks for the server's token.
    """
    nonce = secrets.token_urlsafe(16)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(PAGE.read_text(encoding="utf-8"))
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return template.render(title=title, needs_token=needs_token, nonce=nonce), policy


def _chosen(result: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The values of the given dimensions."""
    return {key: _as_json(result[key]) for key in keys if key in result}


def _as_json(value: Any) -> dict[str, Any]:
    """The values of a `Score` or `Comparison`. A missing score is null; other empty values are left out."""
    values = {field.name: getattr(value, field.name) for field in fields(value)}
    return {
        name: content
        for name, content in values.items()
        if name in _NULLABLE or content not in (None, ())
    }


def _number(value: float) -> float | None:
    """A number for JSON; None, which is null in JSON, for NaN."""
    return None if math.isnan(value) else value
