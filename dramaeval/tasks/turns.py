"""The turns of a conversation in a prompt, before the clip to judge.

The turns are labelled parts of the user message, not separate chat messages: an assistant's message would be an earlier
answer of the judge, and some chat templates refuse audio in it or two messages of one role. All questions about a record
have the same turns, which belong to the shared prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dramaeval.data.records import Record
from dramaeval.data.turns import AUDIO, turn_key
from dramaeval.tasks.rubric import Rubric


def turn_clips(record: Record) -> tuple[Path, ...]:
    """The clips of a record's turns, in order."""
    return tuple(turn.clip for turn in record.turns if turn.clip is not None)


def turn_content(record: Record, rubric: Rubric) -> list[dict[str, Any]]:
    """The turns as parts of a user message: a heading, then the text and clip of each turn; empty without turns."""
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
    """The number of records with turns that lack a clip, if prompts have the clips of turns."""
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
