"""Checks that a model's chat template renders all clips that a task puts into a prompt."""

from __future__ import annotations

from collections.abc import Iterable

from dramaeval.data.records import Record
from dramaeval.models.inputs.record_encoder import RecordEncoder


def clip_problem(record_encoder: RecordEncoder, records: Iterable[Record]) -> str | None:
    """Why a prompt with several clips cannot be rendered; None if it can, or no prompt has several clips.

    Only the first record with such a prompt is checked.

    Args:
        record_encoder: renders the prompts.
        records: records with several clips.
    """
    if not record_encoder.family.takes_audio:
        return None
    task = record_encoder.task
    for record in records:
        for question in task.questions(record, task.dimensions_for(record)):
            if question.clips is None or len(question.clips) < 2:
                break
            rendered = record_encoder.encoder.prompt(question.messages)
            count = rendered.count(record_encoder.audio_token)
            if count == len(question.clips):
                return None
            return (
                f"task={task.name} puts {len(question.clips)} clips into a prompt, and this model's chat template "
                f"renders {count} audio placeholders: score each clip by itself (task=pair), leave out the clips of turns "
                "(task.turns=text), or choose another model."
            )
    return None
