"""The listener model: a judge learns the ratings of each rater with the rater's name, and scores as the mean rater.

Some raters are stricter than others. If different raters rated different clips, a part of the differences between clips
is due to the raters. LDNet (Huang et al. 2022, arXiv 2110.09103) gives the listener to the model in training, adds a
virtual mean listener, whose target is the ratings of all raters, and predicts as the mean listener. In this project, the
listener is a line of the prompt, so that the model has no further weights, and all objectives and adapters can be used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from numpy.random import Generator

from dramaeval.data.raters import POSITIONAL, UNKNOWN, RaterInfo
from dramaeval.data.records import Record
from dramaeval.tasks.rubric import Rubric

NONE, EMBED = "none", "embed"
#: Values of ``task.listeners``.
LISTENERS = (NONE, EMBED)
#: Share of the visits of a training record that ask for the mean of all raters. In LDNet the mean listener is one
#: listener among the others; here its share is one half, because scoring asks only for the mean.
MEAN_SHARE = 0.5
#: The lines of the prompt for the mean of all raters and for one rater, by language of the rubric. Other languages use
#: English, unless the rubric has these lines.
LINES = {
    "en": ("Rating wanted: the mean of all raters.", "Rating wanted: that of rater {rater}."),
    "zh": ("所需评分：所有评分者的平均评分。", "所需评分：评分者{rater}的评分。"),
}


def require_default(listeners: str, *, shots: int, raters: str) -> None:
    """Check that no setting contradicts a listener model.

    Raises:
        ValueError: there are few-shot examples, whose scores are from all raters; or raters are not known.
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
    """The line of the prompt that names the rater; names are in quotes, to distinguish them from the mean."""
    mean, named = LINES.get(rubric.language, LINES["en"])
    if record.listener is None:
        return rubric.mean_rater_line or mean
    name = json.dumps(record.listener, ensure_ascii=False)
    return (rubric.rater_line or named).format(rater=name)


def with_longest_line(
    record: Record, fields: Sequence[str], rubric: Rubric, length: Callable[[str], int]
) -> Record:
    """The record, with all ratings, for the listener with the longest `listener_line`; ``length`` is of a text."""
    names = (None, *names_of(record, fields))
    variants = [replace(record, listener=name) for name in names]
    return max(variants, key=lambda variant: length(listener_line(variant, rubric)))


def names_of(record: Record, fields: Sequence[str]) -> list[str]:
    """The names of the raters who gave a value in one of the annotation fields, in alphabetical order."""
    named = (pair for field in fields for pair in _named_ratings(record, field))
    return sorted({name for name, value in named if value is not None})


def as_listener(record: Record, name: str) -> Record:
    """Limit a record to the ratings of one rater; a field that the rater did not rate has no ratings."""
    ratings = {
        field: tuple(value for rater, value in _named_ratings(record, field) if rater == name)
        for field in record.ratings
    }
    raters = {field: RaterInfo(ids=(name,) * len(values)) for field, values in ratings.items()}
    return replace(record, ratings=ratings, raters=raters, listener=name)


def sampled_listener(record: Record, fields: Sequence[str], rng: Generator) -> Record:
    """The record for one visit in training: unchanged in `MEAN_SHARE` of the visits, else limited to one rater.

    All raters have the same probability. A record without named raters is never changed.
    """
    names = names_of(record, fields)
    if not names or rng.random() < MEAN_SHARE:
        return record
    return as_listener(record, names[int(rng.integers(len(names)))])


def listener_problem(records: Sequence[Record], fields: Sequence[str]) -> str | None:
    """Why these training records cannot be used with a listener model; None if they can.

    Args:
        records: the records of one task.
        fields: the annotation fields of the task.
    """
    listed = [
        record
        for record in records
        if any(
            record.given(field) and record.raters.get(field, POSITIONAL) == POSITIONAL
            for field in fields
        )
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


def _named_ratings(record: Record, field: str) -> list[tuple[str, float | None]]:
    """The rater's name and the value of each rating in a field; empty if there are no names."""
    names = record.raters.get(field, POSITIONAL).ids or ()
    return list(zip(names, record.ratings.get(field, ()), strict=False))
