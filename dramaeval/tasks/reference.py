"""Judging beside a reference: another recording in the prompt, before the clip to judge.

A reference is the character's own voice, or an original performance. Dimensions of the rubric with ``reference: true``
are asked with it, others without; a record names it under the key ``wav_path_reference``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dramaeval.data.records import Record
from dramaeval.tasks.rubric import Dimension, Rubric

REFERENCE = "wav_path_reference"
"""Key of the path of a record's reference."""


def uses_reference(dimensions: Iterable[Dimension]) -> bool:
    """Whether a question about these dimensions has the reference in its prompt."""
    return any(dimension.reference for dimension in dimensions)


def clips_of_question(
    record: Record, dimensions: Iterable[Dimension], own: Sequence[Path] = ()
) -> tuple[Path, ...] | None:
    """The clips of a question's prompt in their order, for `Question.clips`; None where they are the record's alone.

    Args:
        record: the record.
        dimensions: those of the question.
        own: the clips to judge; empty for the record's clip.
    """
    if not uses_reference(dimensions):
        return tuple(own) or None
    return (_reference(record), *(own or (record.clip,)))


def reference_content(
    record: Record, dimensions: Iterable[Dimension], rubric: Rubric
) -> list[dict[str, Any]]:
    """The parts of a user message before the clip to judge; empty where the dimensions use no reference."""
    if not uses_reference(dimensions):
        return []
    return [
        {"type": "text", "text": rubric.reference_label},
        {"type": "audio", "audio_url": str(_reference(record))},
        {"type": "text", "text": rubric.candidate_label},
    ]


def _reference(record: Record) -> Path:
    if record.reference is None:
        raise ValueError(
            f"The record {record.id} has no reference, which its rubric asks for: give {REFERENCE}."
        )
    return record.reference
