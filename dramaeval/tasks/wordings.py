"""Many wordings of one question, made from parts: a generator of phrasings.

The parts are data (``configs/task/phrasings/…``): headers, ways to tell a dimension, ways to tell its scale,
ways to ask for the answer, and for each dimension further descriptions in other words. A phrasing is one of
each, put together; equal ones are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from dramaeval.tasks.rubric import Dimension, Rubric

PARTS = ("headers", "scales", "closings")
LEAST = 30
"""Fewer distinct phrasings of a dimension than this are too few to say what wording does."""


class PhrasingsError(ValueError):
    """Parts that cannot be used; the message lists every problem with its key."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What phrasings are made of.

    Attributes:
        headers: templates that open a question and name the dimension, over ``{title}`` and ``{description}``.
        scales: templates of a line that tells what a score means, over ``{score}`` and ``{meaning}``; a line
            break before it is up to the phrasing.
        closings: templates that ask for the answer, over ``{low}`` and ``{high}``.
        descriptions: further descriptions by dimension key, beside the rubric's own.
    """

    headers: tuple[str, ...]
    scales: tuple[str, ...]
    closings: tuple[str, ...]
    descriptions: Mapping[str, tuple[str, ...]]


def read_parts(data: Mapping[str, Any], rubric: Rubric) -> Parts:
    """Build parts from the mapping of their YAML file.

    Raises:
        PhrasingsError: naming everything that is missing, unknown or not made for this rubric.
    """
    problems = [f"phrasings.{key} is missing" for key in PARTS if not data.get(key)]
    known = {*PARTS, "descriptions", "language", "rubric"}
    problems += [
        f"phrasings.{key} is not known ({', '.join(sorted(known))})"
        for key in data
        if key not in known
    ]
    descriptions = data.get("descriptions") or {}
    keys = {one.key for one in rubric.dimensions}
    # Of parts that were made for another rubric the descriptions are left alone; the rest serves.
    mine = data.get("rubric", rubric.name) == rubric.name
    problems += [
        f"phrasings.descriptions.{key}: the rubric {rubric.name} has no such dimension"
        for key in descriptions
        if mine and key not in keys
    ]
    if data.get("language", rubric.language) != rubric.language:
        problems.append(
            f"phrasings.language={data['language']}, but the rubric {rubric.name} is written in "
            f"{rubric.language}: choose another task/phrasings, or null"
        )
    allowed: dict[str, dict[str, Any]] = {
        "headers": {"title": "", "description": ""},
        "scales": {"score": 1, "meaning": ""},
        "closings": {"low": 1, "high": 5},
    }
    for key, fields in allowed.items():
        for at, template in enumerate(data.get(key) or []):
            try:
                str(template).format(**fields)
            except (KeyError, ValueError, IndexError) as error:
                names = ", ".join(f"{{{name}}}" for name in fields)
                problems.append(f"phrasings.{key}[{at}]: {error}; it may hold {names}")
    if problems:
        raise PhrasingsError("The phrasings cannot be used:\n  " + "\n  ".join(sorted(problems)))
    return Parts(
        headers=tuple(data["headers"]),
        scales=tuple(data["scales"]),
        closings=tuple(data["closings"]),
        descriptions={key: tuple(texts) for key, texts in descriptions.items()},
    )


def wordings(
    rubric: Rubric,
    dimensions: Sequence[Dimension],
    parts: Mapping[str, Any],
    *,
    count: int,
    seed: int,
) -> dict[str, list[str]]:
    """The wordings of each dimension by its key; see `phrasings`."""
    read = read_parts(parts, rubric)
    return {one.key: phrasings(rubric, one, read, count, seed) for one in dimensions}


def phrasings(
    rubric: Rubric, dimension: Dimension, parts: Parts, count: int, seed: int
) -> list[str]:
    """Distinct wordings of the question about a dimension; the first is the rubric's own.

    Args:
        rubric: words the first.
        dimension: what is asked for.
        parts: what the others are made of.
        count: how many there are to be, the rubric's own included.
        seed: of the choice among all that the parts can make. The first n of a longer list are the list of n.

    Raises:
        PhrasingsError: the parts make fewer distinct ones.
    """
    found = dict.fromkeys([rubric.criterion(dimension)])
    descriptions = (dimension.description, *parts.descriptions.get(dimension.key, ()))
    every = list(product(parts.headers, descriptions, parts.scales, parts.closings))
    # A stream for each dimension: leaving one out changes no other's phrasings.
    rng = np.random.default_rng([seed, *dimension.key.encode()])
    for at in rng.permutation(len(every)):
        if len(found) == count:
            break
        found.setdefault(_worded(dimension, *every[at]))
    if len(found) < count:
        raise PhrasingsError(
            f"{count} wordings are asked for, but the parts make only {len(found)} distinct phrasings of "
            f"{dimension.key}: ask for fewer, or give more parts in task/phrasings."
        )
    return list(found)


def _worded(dimension: Dimension, header: str, description: str, scale: str, closing: str) -> str:
    lines = _scale_lines(dimension, scale)
    low, high = dimension.scale[0], dimension.scale[-1]
    return "\n".join(
        [
            header.format(title=dimension.title, description=description),
            *lines,
            closing.format(low=low, high=high),
        ]
    )


def _scale_lines(dimension: Dimension, template: str) -> Sequence[str]:
    return [
        template.format(score=score, meaning=dimension.scores[score]) for score in dimension.scale
    ]
