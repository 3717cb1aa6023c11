"""Checks settings of the importer that the schema cannot check: nested values, and settings that a format ignores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.readers import format_of

#: The formats that read a setting; all formats read the settings that are not listed.
_READ_BY = {
    "sheet": ("excel",),
    "header": ("csv",),
    "delimiter": ("csv",),
    "skip_rows": ("csv", "excel"),
    "encoding": ("csv", "kaldi"),
}


def problems(settings: ImporterConfig) -> list[str]:
    """Every problem, with its key and the expected form."""
    return [
        *_unread(settings),
        *_labels(settings),
        *_patterns(settings),
        *_tables(settings),
        *_files(settings),
        *_dimensions(settings.dimensions),
    ]


def _unread(settings: ImporterConfig) -> Iterator[str]:
    kind = format_of(settings)
    for name, formats in _READ_BY.items():
        if kind and getattr(settings, name) and kind not in formats and not settings.joins:
            yield f"importer.{name} is read from the formats {', '.join(formats)}, not from {kind}: leave it out."


def _labels(settings: ImporterConfig) -> Iterator[str]:
    for label, score in settings.labels.items():
        if isinstance(score, bool) or not isinstance(score, int | float):
            yield f"importer.labels.{label}={score!r} must be a number, the score of the label."


def _patterns(settings: ImporterConfig) -> Iterator[str]:
    named = {f"importer.patterns.{column}": p for column, p in settings.patterns.items()}
    if settings.unpivot is not None:
        named["importer.unpivot"] = settings.unpivot
    for key, text in named.items():
        try:
            groups = re.compile(str(text)).groupindex
        except re.error as error:
            yield f"{key} is not a regular expression: {error}."
            continue
        if not groups:
            yield f"{key} needs a named group: (?P<NAME>…)."
        elif key == "importer.unpivot" and "clip" not in groups:
            yield f"{key} needs the group clip: (?P<clip>…)."


def _tables(settings: ImporterConfig) -> Iterator[str]:
    for name, spec in settings.lookup.items():
        valid = isinstance(spec, Mapping) and set(spec) == {"column", "values"}
        if not valid or not isinstance(spec["values"], Mapping):
            yield f"importer.lookup.{name} must be {{column: COLUMN, values: {{VALUE: TEXT}}}}."
    for name, spec in settings.joins.items():
        known = {"on", "own", "header", "delimiter", "encoding"}
        if not isinstance(spec, Mapping) or "on" not in spec or set(spec) - known:
            yield f"importer.joins.{name} must be {{on: KEY COLUMN}}, with {', '.join(sorted(known - {'on'}))} if needed."


def _files(settings: ImporterConfig) -> Iterator[str]:
    files = settings.files
    groups: Any = files.values() if isinstance(files, Mapping) else [files]
    for group in groups:
        names = group if isinstance(group, list) else [group]
        if not all(name is None or isinstance(name, str) for name in names):
            yield f"importer.files={files!r} must be a list of names, or {{split: name or list of names}}."
            return


def _dimensions(dimensions: Any) -> Iterator[str]:
    specs = dimensions.items() if isinstance(dimensions, Mapping) else []
    for name, spec in specs:
        columns = spec.values() if isinstance(spec, Mapping) else spec
        columns = [columns] if isinstance(columns, str) or columns is None else columns
        valid = not isinstance(columns, int | float) and all(
            column is None or isinstance(column, str) for column in columns
        )
        keys = set(spec) if isinstance(spec, Mapping) else {"mean"}
        if not valid or "mean" not in keys or keys - {"mean", "std", "n"}:
            yield (
                f"importer.dimensions.{name} must be a column, a list of columns (one for each rater), or "
                "{mean: COLUMN, std: COLUMN, n: COLUMN}."
            )
