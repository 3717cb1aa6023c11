"""Turns of the conversation before a record's clip, as text and optionally as audio.

A record has them under the key ``turns``, a list of ``{"role": …, "text": …, "wav_path": …}`` in the order of the
conversation. The list is empty if the conversation begins with the clip; ``wav_path`` is optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dramaeval.data.jsonl import json_type
from dramaeval.data.problems import Finding, printable
from dramaeval.data.record_format import check_text, near_match

TURNS = "turns"
WAV_PATH = "wav_path"
_KEYS = ("role", "text", WAV_PATH)

NONE, TEXT, AUDIO = "none", "text", "audio"
MODES = (NONE, TEXT, AUDIO)
"""Which part of the turns is in prompts: nothing, the texts, or the texts and the clips, if there are any."""

_FORM = '[{"role": "innkeeper", "text": "Who is there?", "wav_path": "line1.wav"}, …]'


@dataclass(frozen=True)
class Turn:
    """One turn of the conversation.

    Attributes:
        role: the speaker: a name, or "user".
        text: the spoken text.
        clip: path of the audio; None if the prompt contains only the text.
        seconds: length of the audio, as in `Record.seconds`.
    """

    role: str
    text: str
    clip: Path | None = None
    seconds: float = 0.0


def turn_key(number: int, name: str = "") -> str:
    """The key of a turn, or of one of its entries, in messages: ``turns[0].text``."""
    return f"{TURNS}[{number}]" + (f".{name}" if name else "")


def check_turns(fields: Mapping[str, Any], mode: str) -> list[Finding]:
    """The problems of a record's turns, if the mode shows turns; `record_clips.check_clips` checks their clips."""
    if mode == NONE:
        return []
    turns = fields.get(TURNS)
    if turns is None:
        near = near_match(TURNS, fields)
        hint = f'; rename "{printable(near)}"?' if near else ""
        fix = f'give every record "{TURNS}", [] where nothing was said before{hint}'
        return [Finding(TURNS, "missing", fix)]
    if not isinstance(turns, list):
        return [Finding(TURNS, f"{json_type(turns)} where a list is expected", f"write {_FORM}")]
    return [finding for number, turn in enumerate(turns) for finding in _check_turn(number, turn)]


def _check_turn(number: int, turn: Any) -> list[Finding]:
    if not isinstance(turn, Mapping):
        problem = f"{json_type(turn)} where an object is expected"
        return [Finding(turn_key(number), problem, f"write {_FORM}")]
    findings = [check_text(turn, name, _KEYS) for name in ("role", "text")]
    if turn.get(WAV_PATH) is not None:
        findings.append(check_text(turn, WAV_PATH, _KEYS))
    elif near := near_match(WAV_PATH, set(turn) - {*_KEYS}):
        problem = f'no "{WAV_PATH}", but "{printable(near)}"'
        findings.append(Finding(WAV_PATH, problem, f'rename it to "{WAV_PATH}"'))
    return [
        Finding(turn_key(number, finding.key or ""), finding.problem, finding.fix)
        for finding in findings
        if finding
    ]


def turn_paths(fields: Mapping[str, Any]) -> dict[str, str]:
    """The path of each turn's clip in the record, by `turn_key`; without invalid turns."""
    turns = fields.get(TURNS)
    return {
        turn_key(number, WAV_PATH): turn[WAV_PATH]
        for number, turn in enumerate(turns if isinstance(turns, list) else [])
        if isinstance(turn, Mapping) and isinstance(turn.get(WAV_PATH), str)
    }


def turns_of(
    fields: Mapping[str, Any], clips: Mapping[str, tuple[Path, float]]
) -> tuple[Turn, ...]:
    """The turns of a record without problems; `clips` are path and length in seconds by the keys of `turn_paths`."""
    return tuple(
        Turn(turn["role"].strip(), turn["text"].strip(), *clips.get(turn_key(number, WAV_PATH), ()))
        for number, turn in enumerate(fields[TURNS])
    )
