"""Writes the card of imported data: content, source, licence, and reasons why this version cannot train on it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.importer import Imported

_MOST_SKIPPED = 20


def card_text(
    imported: Imported, settings: ImporterConfig, splits: dict[str, int], reasons: Sequence[str]
) -> str:
    """The card as Markdown; `splits` has the number of records by split, `reasons` why this version cannot train on them."""
    parts = [
        f"# {imported.name}",
        _facts(imported, settings),
        _table("Splits", ("split", "records"), [(name, str(n)) for name, n in splits.items()]),
        _ratings(imported),
        "## Columns\n\n" + "\n".join(f"- {line}" for line in imported.meaning.lines()),
    ]
    if reasons:
        listed = "\n".join(f"- {reason}" for reason in reasons)
        parts.append(f"## This version cannot train on these records yet\n\n{listed}")
    if imported.notices:
        parts.append("## Remarks\n\n" + "\n".join(f"- {notice}" for notice in imported.notices))
    if imported.skipped:
        rows = [
            (p.file.name, str(p.line or ""), p.id or "", p.key or "", p.problem)
            for p in imported.skipped[:_MOST_SKIPPED]
        ]
        title = f"Left out: {len(imported.skipped)} problems"
        parts.append(_table(title, ("file", "row", "clip", "column", "problem"), rows))
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(imported: Imported, settings: ImporterConfig) -> str:
    hours = sum(imported.seconds) / 3600
    facts = [
        ("Source", settings.file),
        ("Address", settings.url),
        ("Licence", settings.license or "not stated: set importer.license"),
        ("Citation", settings.citation or "not stated: set importer.citation"),
        ("Remark", settings.note),
        ("Clips", f"{len(imported.records):,} ({hours:.2f} hours) from {imported.rows:,} rows"),
        ("Raters", f"{len(imported.raters):,}" if imported.raters else "not identified"),
    ]
    for key in ("character", "system", "language"):
        values = {record[key] for record in imported.records if key in record}
        facts.append((f"Different values of {key}", f"{len(values):,}" if values else None))
    return "\n".join(f"- {name}: {value}" for name, value in facts if value)


def _ratings(imported: Imported) -> str:
    rows = []
    for dimension in imported.dimensions:
        scores = list(_scores(imported, dimension.name))
        if not scores:
            continue
        counts = Counter(scores)
        listed = " ".join(f"{score}: {n}" for score, n in sorted(counts.items()))
        spread = listed if len(counts) <= 12 else ""
        scale = f"{dimension.scale[0]} to {dimension.scale[-1]}, {len(dimension.scale)} points"
        origin = "" if dimension.is_given else " (range of the ratings)"
        mean = f"{statistics.fmean(map(float, scores)):.3f}"
        rows.append((dimension.name, scale + origin, f"{len(scores):,}", mean, spread))
    return _table("Ratings", ("field", "scale", "ratings", "mean", "counts"), rows)


def _scores(imported: Imported, name: str) -> Any:
    for record in imported.records:
        value = record["annotations"].get(name)
        if isinstance(value, dict):
            value = value.get("mean")
        yield from (s for s in (value if isinstance(value, list) else [value]) if s is not None)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines)
