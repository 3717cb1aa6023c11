"""Raters' votes on pairs of clips, and the check of a pair's texts.

A vote is stored as a number from -2 (clip b is much better) to 2 (clip a is much better); 0 is a tie. If raters only
choose one of the clips, the vote is 2 or -2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dramaeval.data.problems import Finding
from dramaeval.data.record_format import OPTIONAL_TEXTS, AnnotationField

CLIP_A, CLIP_B = "wav_path_a", "wav_path_b"
"""Keys of the paths of a pair's clips."""

VOTES = (-2.0, -1.0, 0.0, 1.0, 2.0)
VOTE_LABELS = ("b", "slightly b", "tie", "slightly a", "a")
"""The votes, and the words for them in records."""

SYSTEMS = ("system_a", "system_b")
"""Keys of the systems that produced the clips."""


def vote_field(annotation: AnnotationField) -> AnnotationField:
    """A dimension's field of votes, made from its field of ratings."""
    return replace(
        annotation, low=VOTES[0], high=VOTES[-1], whole=True, points=VOTES, labels=VOTE_LABELS
    )


def is_pair(fields: Mapping[str, Any]) -> bool:
    """Whether a record has a pair of clips."""
    return CLIP_A in fields or CLIP_B in fields


def prompt_findings(fields: Mapping[str, Any], texts: Sequence[str]) -> Iterator[Finding]:
    """Problems of a pair's texts: both clips must have the same text under each key that prompts contain."""
    for key in (key for key in texts if key not in OPTIONAL_TEXTS):
        values = [fields[name] for name in (key, f"{key}_a", f"{key}_b") if name in fields]
        if any(value != values[0] for value in values):
            fix = f'pair clips of one context, and write its text once, as "{key}"'
            yield Finding(key, "differs between the two clips", fix)
