"""The key ``dataset_name`` of a record: the names of the published data sets (Speech-DRAME, arXiv 2511.01261)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dramaeval.config.problems import near_match_hint
from dramaeval.data.jsonl import Line
from dramaeval.data.problems import BadRecordsError, Finding, Problem, printable
from dramaeval.data.records import problems_of

DATASET_NAME = "dataset_name"

#: The task of each data set, as arguments of a command.
TASKS: Mapping[str, tuple[str, ...]] = {
    "ROLE": ("task=role",),
    "Arche": ("task=archetype",),
    "AVQA": ("task=avqa",),
    "RoleCaption": ("task=role_caption",),
    "RoleEmotion": ("task=role_emotion",),
    "RoleVariation": ("task=role_variation",),
    "RoleVariationCaption": ("task=role_variation_caption",),
    # The published data set has varied wordings and no thoughts, as RoleVariation.
    "RoleReasoning": ("task=role_variation",),
    "RoleAllFixOrder": ("task=role_all", "task.order=fixed", "task.rater=independent"),
    "RoleAllFixOrderConsistent": ("task=role_all", "task.order=fixed", "task.rater=consistent"),
    "RoleAllFlexOrder": ("task=role_all", "task.order=shuffled", "task.rater=independent"),
    "RoleAllFlexOrderConsistent": ("task=role_all", "task.order=shuffled", "task.rater=consistent"),
}


def dataset_name(fields: Mapping[str, Any]) -> Any:
    """The name of a record's data set; if the record does not name it, the name is derived from the record's keys."""
    if fields.get(DATASET_NAME) is not None:
        return fields[DATASET_NAME]
    if "multi_choice" in fields:
        return "AVQA"
    return "Arche" if "question" in fields and "local_scene" not in fields else "ROLE"


def lines_by_name(lines: Iterable[Line], file: Path) -> dict[str, list[int]]:
    """Line numbers by data set name, in the order of the file; without lines that are no JSON objects.

    Raises:
        BadRecordsError: lists every line whose name is not in `TASKS`.
    """
    by_name: dict[str, list[int]] = {}
    problems: list[Problem] = []
    for line in lines:
        if line.fields is None:
            continue
        name = dataset_name(line.fields)
        if isinstance(name, str) and name in TASKS:
            by_name.setdefault(name, []).append(line.number)
            continue
        hint = near_match_hint(str(name), TASKS)
        finding = Finding(
            DATASET_NAME,
            f"{printable(repr(name))} is not the name of a data set",
            f"use one of {', '.join(TASKS)}, or choose the task yourself.{hint}",
        )
        record_id = line.fields.get("id")
        record_id = record_id if isinstance(record_id, str) else None
        problems += problems_of([finding], file, line.number, record_id)
    if problems:
        raise BadRecordsError(problems)
    return by_name
