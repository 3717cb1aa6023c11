"""The listener model: a judge learns each rater's ratings under the rater's name, and scores as the mean of all raters.

Raters differ in how strictly they rate. If different raters rated different clips, part of the difference between clips
is a difference between raters. LDNet (Huang et al. 2022, arXiv 2110.09103) gives the listener to the model in training,
adds a virtual mean listener, whose target are the ratings of all, and predicts as the mean listener. Here the listener is
one line of the prompt, so that the model has no further weights and every objective and adapter works as without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from numpy.random import Generator

from dramaeval.data.raters import POSITIONAL, RATERS, UNKNOWN, RaterInfo
from dramaeval.data.records import Record
from dramaeval.tasks.rubric import Rubric

NONE, EMBED = "none", "embed"
#: Values of ``task.listeners``.
LISTENERS = (NONE, EMBED)
#: Share of the visits of a training record that ask for the mean of all raters. LDNet trains the
#: mean listener as one of its listeners; here it gets half of the visits, because scoring asks for the mean only.
MEAN_SHARE = 0.5
#: By the language of the rubric, the line of the prompt for the mean of all raters, and that for one; other languages
#: use English, unless the rubric has its own lines.
LINES = {
    "en": ("Rating wanted: the mean of all raters.", "Rating wanted: that of rater {rater}."),
    "zh": ("所需评分：所有评分者的平均评分。", "所需评分：评分者{rater}的评分。"),
}


def require_default(listeners: str, *, shots: int, raters: str) -> None:
    """Refuse settings that contradict a listener model.

    Raises:
        ValueError: there are few-shot examples, whose scores are those of all raters, or no rater has a name.
    """
    if listeners == EMBED and shots:
        raise ValueError(
            f"task.listeners={EMBED} asks for the ratings of one rater, and task.shots={shots} shows the scores of "
            f"all: set task.shots=0, or task.listeners={NONE}."
        )
    if listeners == EMBED and raters == UNKNOWN:
        raise ValueError(
            f"task.listeners={EMBED} needs the names of the raters, and task.raters={UNKNOWN} says that they are not "
            f"known: set task.listeners={NONE}."
        )


def listener_line(record: Record, rubric: Rubric) -> str:
    """The line of the prompt that names the rater; a name is in quotes, so that none reads like the mean."""
    mean, named = LINES.get(rubric.language, LINES["en"])
    if record.listener is None:
        return rubric.mean_rater_line or mean
    name = json.dumps(record.listener, ensure_ascii=False)
    return (rubric.rater_line or named).format(rater=name)


def names_of(record: Record, fields: Sequence[str]) -> list[str]:
    """The names of the raters who gave a value on one of the annotation fields, in alphabetical order."""
    names = {
        name
        for field in fields
        for name, value in zip(
            _info(record, field).ids or (), record.ratings.get(field, ()), strict=False
        )
        if value is not None
    }
    return sorted(names)


def rater_texts(record: Record, fields: Sequence[str]) -> dict[str, str]:
    """The names of a record's raters by key, for the check of texts."""
    return {f"{RATERS}.{name}": name for name in names_of(record, fields)}


def as_listener(record: Record, name: str) -> Record:
    """The record with the ratings of one rater; fields that the rater did not rate have none."""
    ratings = {
        field: tuple(
            value
            for rater, value in zip(_info(record, field).ids or (), values, strict=False)
            if rater == name
        )
        for field, values in record.ratings.items()
    }
    raters = {field: RaterInfo(ids=(name,) * len(values)) for field, values in ratings.items()}
    return replace(record, ratings=ratings, raters=raters, listener=name)


def sampled_listener(record: Record, fields: Sequence[str], rng: Generator) -> Record:
    """The record for one visit in training: in `MEAN_SHARE` of the visits as it is, else as one of its raters.

    Each rater is equally likely. A record without named raters is always as it is.
    """
    names = names_of(record, fields)
    if not names or rng.random() < MEAN_SHARE:
        return record
    return as_listener(record, names[int(rng.integers(len(names)))])


def listener_problem(records: Sequence[Record], fields: Sequence[str]) -> str | None:
    """Why these training records cannot be used with a listener model; None where they can.

    Args:
        records: of one task.
        fields: its annotation fields.
    """
    listed = [
        record
        for record in records
        if any(record.given(field) and _info(record, field) == POSITIONAL for field in fields)
    ]
    fix = (
        'give the names: {"rater17": 4, "rater3": 5} in place of a list, or the key "raters": ["rater17", "rater3"] '
        "beside the lists"
    )
    if listed:
        first = f"{listed[0].file}:{listed[0].line}"
        return (
            f"needs the names of the raters, but {len(listed)} of {len(records)} training records (the first: "
            f"{first}) have lists whose positions name nobody: {fix}."
        )
    if records and not any(names_of(record, fields) for record in records):
        return f"needs the names of the raters, but no training record has them: {fix}; or set it to {NONE}."
    return None


def _info(record: Record, field: str) -> RaterInfo:
    return record.raters.get(field, POSITIONAL)
