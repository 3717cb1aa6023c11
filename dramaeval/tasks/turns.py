"""The turns of a conversation in a prompt, before the clip to judge.

They are labelled parts of the user message, not chat turns of their own: an assistant's turn would be an earlier answer
of the judge, which it never gave; some chat templates take no audio there, and refuse two turns of one role. Being the
same for all questions about a record, they belong to the beginning that these share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dramaeval.data.records import Record
from dramaeval.data.turns import AUDIO, MODES, NONE, TEXT, turn_key
from dramaeval.tasks.rubric import Rubric

__all__ = [
    "AUDIO", "NONE", "TEXT", "checked_turns", "turn_clips", "turn_content", "turn_remarks", "turn_texts",
]  # fmt: skip


def checked_turns(mode: str | None, shots: int) -> str:
    """The setting ``task.turns``; ``none`` for null.

    Raises:
        ValueError: it is not known, or there are few-shot examples beside turns.
    """
    mode = mode or NONE
    if mode not in MODES:
        raise ValueError(f"task.turns={mode} is not known; choose one of {', '.join(MODES)}.")
    if shots and mode != NONE:
        raise ValueError(
            f"task.shots={shots}: an example would stand between the turns of the conversation (task.turns={mode}) and "
            "the clip that answers them. Set task.shots=0, or task.turns=none."
        )
    return mode


def turn_clips(record: Record) -> tuple[Path, ...]:
    """The clips of the turns in a record's prompts, in their order."""
    return tuple(turn.clip for turn in record.turns if turn.clip is not None)


def turn_content(record: Record, rubric: Rubric) -> list[dict[str, Any]]:
    """The turns as parts of a user message: a heading, then each turn's text and its clip; empty without turns."""
    parts: list[dict[str, Any]] = []
    lines = [rubric.turns_label] if record.turns else []
    for turn in record.turns:
        lines.append(f"{turn.role}: {turn.text}")
        if turn.clip is not None:
            parts.append({"type": "text", "text": _text(lines)})
            parts.append({"type": "audio", "audio_url": str(turn.clip)})
            lines = []
    return [*parts, {"type": "text", "text": _text(lines)}] if lines else parts


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def turn_remarks(records: Sequence[Record], mode: str) -> dict[str, int]:
    """The number of records with turns that have no clip although prompts have clips, by its description."""
    count = sum(any(turn.clip is None for turn in record.turns) for record in records)
    if mode != AUDIO or not count:
        return {}
    return {
        "have turns without a clip, of which the prompt has the text alone (task.turns=audio)": count
    }


def turn_texts(record: Record) -> dict[str, str]:
    """The texts of the turns, by key."""
    return {
        turn_key(number, name): text
        for number, turn in enumerate(record.turns)
        for name, text in (("role", turn.role), ("text", turn.text))
    }
