"""Drafts a rubric and a task for imported records, and reports records that this version cannot train on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from dramaeval.config.literal import literal
from dramaeval.data.pair_format import is_pair
from dramaeval.data.record_format import RecordFormat, check_annotations
from dramaeval.tasks.rubric import RubricError, read_rubric

#: The draft of a scale with more points explains only the ends of the scale.
_EXPLAINED = 21
_HEAD = """# Draft, written by stages=[import]. Check the scales, and replace title, description and the meaning of each score
# by the words that the raters read: the judge reads them too.
"""
_TASK_HEAD = """# Draft, written by stages=[import]: the imported records with the rubric of the same name.
"""


@dataclass(frozen=True, kw_only=True)
class DraftDimension:
    """A dimension of the draft.

    Attributes:
        name: the field of the annotations.
        scale: the points of the scale in ascending order.
        is_given: whether the settings give the scale; if not, it is the range of the ratings.
        labels: the meanings of points, from the labels in the source.
    """

    name: str
    scale: Sequence[int | float]
    is_given: bool
    labels: Mapping[int | float, str] = field(default_factory=dict)


def identifier(text: str) -> str:
    """A name for files and keys: letters, digits and underscores, not beginning with a digit."""
    name = re.sub(r"\W+", "_", text).strip("_").lower() or "dimension"
    return name if name.isidentifier() else f"d_{name}"


def rubric_values(name: str, language: str, dimensions: Sequence[DraftDimension]) -> dict[str, Any]:
    """The values of the rubric's YAML file."""
    keys = _unique([identifier(dimension.name) for dimension in dimensions])
    return {
        "name": name,
        "version": "0.1",
        "language": language,
        "dimensions": [_dimension(*pair) for pair in zip(keys, dimensions, strict=True)],
    }


def _unique(names: Sequence[str]) -> list[str]:
    """The names; repeated names get a number."""
    return [
        name if (before := names[:place].count(name)) == 0 else f"{name}_{before + 1}"
        for place, name in enumerate(names)
    ]


def _dimension(key: str, dimension: DraftDimension) -> dict[str, Any]:
    title = re.sub(r"[\W_]+", " ", dimension.name).strip().capitalize() or dimension.name
    points = list(dimension.scale)
    if len(points) > _EXPLAINED:
        points = [points[0], points[-1]]
    return {
        "key": key,
        "annotation": dimension.name,
        "title": title,
        "scale": list(dimension.scale),
        "description": f"{title} of the clip, as the raters judged it.",
        "scores": {point: _meaning(point, dimension) for point in points},
    }


def _meaning(point: int | float, dimension: DraftDimension) -> str:
    if point in dimension.labels:
        return dimension.labels[point]
    low, high = dimension.scale[0], dimension.scale[-1]
    if point == low:
        return f"the lowest score of {dimension.name}"
    if point == high:
        return f"the highest score of {dimension.name}"
    return f"{point} on the scale from {low} to {high}"


def rubric_text(values: Mapping[str, Any]) -> str:
    """The rubric's YAML file."""
    return _HEAD + _yaml(values)


def task_text(name: str, texts: Sequence[str], files: Mapping[str, str]) -> str:
    """The YAML file of a task `name` with the rubric of this name and each split's file.

    The prompt includes the `texts`, which are keys that every record has.
    """
    titles = {"transcript": "Line", "local_scene": "Scene", "char_profile": "Character"}
    context = "\n".join(f"{titles[key]}: {{{key}}}" for key in titles if key in texts)
    values = {
        "defaults": [{"rubric": name}, {"label_policies": "default"}, "_self_"],
        "_target_": "dramaeval.tasks.task.Task",
        "name": name,
        "system": "You judge speech.",
        "context": context or "Judge the clip.",
        "prompt_layout": "context_first",
        "labels": "distribution",
        "objective": "expected_mse+0.2*soft_ce",
        "confidence": None,
        "raters": "positions",
        "listeners": "none",
        "shots": 0,
        "dimensions": None,
        "data": {split: files.get(split) for split in ("train", "val", "test")},
    }
    return _TASK_HEAD + _yaml(values)


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        literal(dict(values)),
        sort_keys=False,
        default_flow_style=None,
        allow_unicode=True,
        width=110,
    )


def cannot_train(rubric: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The reasons why this version cannot train on the records with the rubric; empty if it can."""
    if not rubric["dimensions"]:
        return ["the source has no ratings; stages=[score] input=FILE scores the clips"]
    if any(map(is_pair, records)):
        return [
            "the records are pairs of clips, and the drafted task judges single ones: use task=pair with a rubric of "
            "single clips that has the dimension, such as task/rubric=naturalness"
        ]
    try:
        read = read_rubric(rubric)
    except RubricError as error:
        return str(error).split("\n  ")[1:]
    fields = [dimension.annotation_field for dimension in read.dimensions]
    fmt = RecordFormat(text_fields=(), annotation_fields=tuple(fields))
    reasons: dict[str, list[str]] = {}
    for record in records:
        for finding in check_annotations(record, fmt).findings:
            kind = finding.problem.partition(": ")[0]
            reasons.setdefault(f"{finding.key}: {kind}", []).append(str(record["id"]))
    return [
        f"{reason} (record {ids[0]}{f' and {len(ids) - 1:,} more' if len(ids) > 1 else ''})"
        for reason, ids in reasons.items()
    ]
