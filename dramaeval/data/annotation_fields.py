"""Places of an annotation field's ratings in a record: under ``annotations``, at the top level, or in flat keys.

A flat key contains one rater's value: ``annotation0_FIELD``, ``annotation1_FIELD``, …, ``final0_FIELD``. The evaluation
set of Speech-DRAME has this form before its ratings are collected into lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dramaeval.data.mean_values import is_mean_form
from dramaeval.data.raters import MEAN

ANNOTATIONS = "annotations"
"""Key of the object with the annotation fields; they may be at the top level instead."""

_FLAT = re.compile(r"(annotation|final)([0-9]+)_(.+)")


def flat_values(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A field's flat values by rater (``annotation0``), annotations before final ones; a list of one value is unpacked."""
    nested = fields.get(ANNOTATIONS)
    sources = (nested if isinstance(nested, Mapping) else {}, fields)
    values: dict[tuple[str, int], Any] = {}
    for key, value in ((key, source[key]) for source in reversed(sources) for key in source):
        match = _FLAT.fullmatch(key) if key.endswith(f"_{name}") else None
        if match and match[3] == name:
            single = isinstance(value, list) and len(value) == 1
            values[match[1], int(match[2])] = value[0] if single else value
    return {f"{kind}{number}": values[kind, number] for kind, number in sorted(values)}


def written_values(fields: Mapping[str, Any], name: str) -> list[Any]:
    """A field's values in a valid record, unconverted: one for each rater, or only the mean of a mean rating."""
    nested = fields.get(ANNOTATIONS) or {}
    value = nested[name] if name in nested else fields.get(name)
    if value is None:
        return list(flat_values(fields, name).values())
    if isinstance(value, Mapping):
        return [value[MEAN]] if is_mean_form(value) else list(value.values())
    return list(value) if isinstance(value, list) else [value]
