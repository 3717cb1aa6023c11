"""The JSON bodies of requests, and the conversion of results to JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dramaeval.serving.clips import RequestError

Audio = Annotated[str, Field(description="the bytes of an audio file in base64")]
Texts = Annotated[
    dict[str, str], Field(description="texts of the task by name; GET /v1/rubric lists them")
]
Dimensions = Annotated[
    list[str] | None, Field(description="dimensions of the answer; null: all of the task")
]


#: Values of a `Score` that are null in the answer if there is no score.
_NULLABLE = ("expected", "spread", "distribution")


class Body(BaseModel):
    """A JSON body; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ClipBody(Body):
    """A clip with its texts."""

    audio: Audio
    texts: Texts = {}


class ScoreBody(Body):
    """``POST /v1/score``: one clip (``audio``) or several (``clips``); all clips share ``texts``."""

    audio: Audio | None = None
    clips: list[ClipBody] = []
    texts: Texts = {}
    dimensions: Dimensions = None


class PairBody(Body):
    """Two clips that share their texts."""

    a: Audio
    b: Audio
    texts: Texts = {}


class CompareBody(Body):
    """``POST /v1/compare``: one pair (``a``, ``b``) or several (``pairs``)."""

    a: Audio | None = None
    b: Audio | None = None
    pairs: list[PairBody] = []
    texts: Texts = {}
    dimensions: Dimensions = None


class AudioBody(BaseModel):
    """A completion as a mapping; other keys are ignored."""

    audio: Audio


class RewardBody(Body):
    """``POST /v1/reward``: a batch in the form of TRL and ms-swift, or one completion in the form of verl.

    ``prompts``, ``completion_ids``, ``data_source`` and ``ground_truth`` are part of these forms; the judge ignores them.
    """

    completions: Annotated[
        list[Audio | AudioBody] | None, Field(description="TRL, ms-swift: the generated clips")
    ] = None
    texts: Annotated[
        dict[str, str | list[str]], Field(description="each one text for all clips, or a list")
    ] = {}
    weights: Annotated[
        dict[str, float] | None, Field(description="of the dimensions; null: all equal")
    ] = None
    prompts: Any = None
    completion_ids: Any = None
    data_source: Any = None
    solution_str: Annotated[Audio | None, Field(description="verl: the generated clip")] = None
    ground_truth: Any = None
    extra_info: Annotated[
        dict[str, Any] | None,
        Field(
            description="verl: the texts by name; keys that are no texts of the task are not read"
        ),
    ] = None


def parsed(body: type[Body], content: bytes) -> Any:
    """Parse a JSON body.

    Raises:
        RequestError: lists all problems of the body, by key.
    """
    try:
        return body.model_validate_json(content)
    except ValidationError as error:
        raise RequestError(
            [
                f"{'.'.join(map(str, problem['loc'])) or 'The body'}: {problem['msg']}."
                for problem in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def as_json(value: Any) -> dict[str, Any]:
    """The values of a `Score` or `Comparison`. A missing score is null; other empty values are left out."""
    values = {field.name: getattr(value, field.name) for field in fields(value)}
    return {
        name: content
        for name, content in values.items()
        if name in _NULLABLE or content not in (None, ())
    }


def chosen_json(result: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The values of the given dimensions."""
    return {key: as_json(result[key]) for key in keys if key in result}


def number(value: float) -> float | None:
    """A number for JSON; None, which is null in JSON, for NaN."""
    return None if math.isnan(value) else value
