"""The JSON bodies of requests."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Audio = Annotated[str, Field(description="the bytes of an audio file in base64")]
Texts = Annotated[
    dict[str, str], Field(description="texts of the task by name; GET /v1/rubric lists them")
]
Dimensions = Annotated[
    list[str] | None, Field(description="dimensions of the answer; null: all of the task")
]


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
