"""Builds many wordings of one question from interchangeable parts.

The parts are data (``configs/task/phrasings/…``). A wording combines one part of each kind; duplicates are dropped.

- ``headers``: templates that begin a question and name the dimension, with ``{title}`` and ``{description}``;
- ``scales``: templates of the line that explains a score, with ``{score}`` and ``{meaning}``;
- ``closings``: templates that ask for the answer, with ``{low}`` and ``{high}``;
- ``descriptions``: further descriptions by dimension key, in addition to the rubric's description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from dramaeval.tasks.rubric import Dimension, Rubric, text_problem, text_problems
from dramaeval.tasks.templates import template_problem

#: The kinds of templates, each with the names that it may hold in braces.
TEMPLATES: Mapping[str, Sequence[str]] = {
    "headers": ("title", "description"),
    "scales": ("score", "meaning"),
    "closings": ("low", "high"),
}
LEAST = 30
"""The smallest number of distinct wordings that shows how scores depend on the wording."""


class PhrasingsError(ValueError):
    """The parts cannot be used; the message lists every problem with its key."""


def check_parts(data: Mapping[str, Any], rubric: Rubric) -> None:
    """Check the mapping of a YAML file of parts.

    Raises:
        PhrasingsError: parts are missing, unknown, or written for another rubric or language.
    """
    problems = [f"phrasings.{key} is missing" for key in TEMPLATES if not data.get(key)]
    permitted = {*TEMPLATES, "descriptions", "language", "rubric"}
    problems += [
        f"phrasings.{key} is not known ({', '.join(sorted(permitted))})"
        for key in data
        if key not in permitted
    ]
    descriptions = data.get("descriptions") or {}
    keys = {dimension.key for dimension in rubric.dimensions}
    # Parts of another rubric are used without their descriptions.
    same_rubric = data.get("rubric", rubric.name) == rubric.name
    problems += [
        f"phrasings.descriptions.{key}: the rubric {rubric.name} has no such dimension"
        for key in descriptions
        if same_rubric and key not in keys
    ]
    if data.get("language", rubric.language) != rubric.language:
        problems.append(
            f"phrasings.language={data['language']}, but the rubric {rubric.name} is written in "
            f"{rubric.language}: choose another task/phrasings, or null"
        )
    problems += text_problems(data, ("language", "rubric"), "phrasings")
    for key, texts in descriptions.items():
        problems += _list_problems(texts, f"phrasings.descriptions.{key}")
    for key, names in TEMPLATES.items():
        problems += _list_problems(data.get(key), f"phrasings.{key}")
        problems += [
            f"phrasings.{key}[{index}] {problem}"
            for index, template in enumerate(data.get(key) or [])
            if (problem := template_problem(str(template), names))
        ]
    if problems:
        raise PhrasingsError("The phrasings cannot be used:\n  " + "\n  ".join(sorted(problems)))


def _list_problems(texts: Any, where: str) -> list[str]:
    """Problems of a list of texts; None counts as an empty list."""
    if texts is None:
        return []
    if not isinstance(texts, list | tuple):
        return [f"{where} is not a list of texts"]
    problems = enumerate(map(text_problem, texts))
    return [f"{where}[{number}] {problem}" for number, problem in problems if problem]


def wordings(
    rubric: Rubric,
    dimensions: Sequence[Dimension],
    parts: Mapping[str, Any],
    *,
    count: int,
    seed: int,
) -> dict[str, list[str]]:
    """The `phrasings` of each dimension, by key."""
    check_parts(parts, rubric)
    return {d.key: phrasings(rubric, d, parts, count, seed) for d in dimensions}


def phrasings(
    rubric: Rubric, dimension: Dimension, parts: Mapping[str, Any], count: int, seed: int
) -> list[str]:
    """Distinct wordings of the question about a dimension; the first is the rubric's wording.

    Args:
        rubric: the rubric, with the first wording.
        dimension: the dimension to ask for.
        parts: the parts of the other wordings, see `check_parts`.
        count: number of wordings, with the first.
        seed: seed of the choice among all combinations. A longer list begins with every shorter list.

    Raises:
        PhrasingsError: the parts have fewer distinct combinations.
    """
    chosen = dict.fromkeys([rubric.criterion(dimension)])
    further = (parts.get("descriptions") or {}).get(dimension.key) or ()
    descriptions = (dimension.description, *further)
    combinations = list(product(parts["headers"], descriptions, parts["scales"], parts["closings"]))
    # Each dimension has a separate random stream: leaving one out does not change the wordings of the others.
    rng = np.random.default_rng([seed, *dimension.key.encode()])
    for index in rng.permutation(len(combinations)):
        if len(chosen) == count:
            break
        chosen.setdefault(_worded(dimension, *combinations[index]))
    if len(chosen) < count:
        raise PhrasingsError(
            f"{count} wordings are requested, but the parts give only {len(chosen)} distinct phrasings of "
            f"{dimension.key}: request fewer, or add parts in task/phrasings."
        )
    return list(chosen)


def _worded(dimension: Dimension, header: str, description: str, scale: str, closing: str) -> str:
    low, high = dimension.answers[0], dimension.answers[-1]
    return "\n".join(
        [
            header.format(title=dimension.title, description=description),
            *dimension.score_lines(scale),
            closing.format(low=low, high=high),
        ]
    )
