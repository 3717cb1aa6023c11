"""Clips rated from 0 to 10, in half points, with labels and from 0 to 100, and a rubric with these scales."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from clips import write_clips

LABELS = ("bad", "poor", "fair", "good", "excellent")
HALF_POINTS = (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5)
#: The dimensions of a rubric; each describes only some points of its scale.
DIMENSIONS = (
    {"key": "ten", "annotation": "ten", "title": "Naturalness", "description": "How natural it sounds.",
     "scale": {"from": 0, "to": 10}, "scores": {0: "not natural", 10: "natural"}},
    {"key": "half", "annotation": "half", "title": "Quality", "description": "How good the sound is.",
     "scale": list(HALF_POINTS), "scores": {1: "bad", 5: "excellent"}},
    {"key": "label", "annotation": "label", "title": "Clarity", "description": "How clear it is.",
     "scale": list(LABELS)},
    {"key": "slider", "annotation": "slider", "title": "Loudness", "description": "How loud it is.",
     "scale": {"from": 0, "to": 100}, "bins": 5, "scores": {0: "silent", 100: "very loud"}},
)  # fmt: skip


def overrides(task: str = "speech") -> list[str]:
    """Overrides that select a task and give its rubric these dimensions."""
    # Hydra's grammar allows no quotes around keys.
    values = re.sub(r'"(\w+)":', r"\1:", json.dumps(DIMENSIONS))
    return [f"task={task}", f"task.rubric.dimensions={values}"]


def write_scaled_clips(
    folder: Path, name: str, count: int, *, seconds: Sequence[float] = (), seed: int = 0
) -> Path:
    """Write a JSONL of records with ratings of three raters on each scale; louder clips have higher ratings."""
    file = write_clips(folder, name, count, seconds=seconds, seed=seed)
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    for record in records:
        fractions = [(rating - 1) / 4 for rating in record["annotations"]["pitch_variation"][:3]]
        record["annotations"] = {
            "ten": [round(10 * x) for x in fractions],
            "half": [HALF_POINTS[round(8 * x)] for x in fractions],
            "label": [LABELS[round(4 * x)] for x in fractions],
            "slider": [round(100 * x) - 7 * (x > 0.5) for x in fractions],
        }
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file
