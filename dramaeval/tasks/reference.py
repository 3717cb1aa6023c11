"""The parts of a prompt before the clip to judge: turns of a conversation, and a reference recording.

A reference is a recording of the character's voice, or an original performance. Questions about dimensions with
``reference: true`` have the reference in their prompts; a record names it under the key ``wav_path_reference``. The
turns of a record (`dramaeval.tasks.turns`) are before the reference, in the questions about all dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dramaeval.data.records import Record
from dramaeval.tasks.rubric import Dimension, Rubric
from dramaeval.tasks.turns import turn_clips, turn_content

REFERENCE = "wav_path_reference"
"""The key of a record with the path of its reference."""


def uses_reference(dimensions: Iterable[Dimension]) -> bool:
    """Whether the prompt of a question about these dimensions has the reference."""
    return any(dimension.reference for dimension in dimensions)


def reference_field(dimensions: Iterable[Dimension]) -> str | None:
    """The key of the reference in records; None if no dimension uses a reference."""
    return REFERENCE if uses_reference(dimensions) else None


def clips_of_question(
    record: Record, dimensions: Iterable[Dimension], judged: Sequence[Path] = ()
) -> tuple[Path, ...] | None:
    """The clips in the prompt of a question, for `Question.clips`; None for only the record's clip.

    Args:
        record: the record.
        dimensions: the dimensions of the question.
        judged: the clips to judge; empty for the record's clip.
    """
    before = turn_clips(record)
    if uses_reference(dimensions):
        before = (*before, _reference(record))
    if not before:
        return tuple(judged) or None
    return (*before, *(judged or (record.clip,)))


def content_before(
    record: Record,
    dimensions: Iterable[Dimension],
    rubric: Rubric,
    *,
    labels_candidate: bool = True,
) -> list[dict[str, Any]]:
    """The parts of a user message before the clip to judge; empty without turns and without a reference.

    Args:
        record: the record.
        dimensions: the dimensions of the question.
        rubric: the rubric with the labels.
        labels_candidate: whether the last part is the label of the clip to judge.
    """
    parts = turn_content(record, rubric)
    if uses_reference(dimensions):
        parts.append({"type": "text", "text": rubric.reference_label})
        parts.append({"type": "audio", "audio_url": str(_reference(record))})
    if parts and labels_candidate:
        parts.append({"type": "text", "text": rubric.candidate_label})
    return parts


def _reference(record: Record) -> Path:
    if record.reference is None:
        raise ValueError(
            f"The record {record.id} has no reference, which its rubric asks for: give {REFERENCE}."
        )
    return record.reference
