"""Turns: what was said in a conversation before the clip of a record, as text and, where the record has it, as audio.

A record holds them under the key ``turns``, a list of ``{"role": …, "text": …, "wav_path": …}`` in the order of the
conversation. The list is empty where the clip begins the conversation; ``wav_path`` may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dramaeval.config.problems import near_matches
from dramaeval.data.jsonl import json_type
from dramaeval.data.problems import Finding, printable
from dramaeval.data.record_format import check_text

TURNS = "turns"
WAV_PATH = "wav_path"
_KEYS = ("role", "text", WAV_PATH)

NONE, TEXT, AUDIO = "none", "text", "audio"
MODES = (NONE, TEXT, AUDIO)
"""What prompts have of the turns: nothing, their texts, or their texts and the clips of those that have one."""

_FORM = '[{"role": "innkeeper", "text": "Who is there?", "wav_path": "line1.wav"}, …]'


@dataclass(frozen=True)
class Turn:
    """One turn.

    Attributes:
        role: who speaks: a name, or "user".
        text: what is said.
        clip: path of its audio; None where the prompt has its text alone.
        seconds: length of the audio, as `Record.seconds`.
    """

    role: str
    text: str
    clip: Path | None = None
    seconds: float = 0.0


def turn_key(number: int, name: str = "") -> str:
    """The key of a turn, from 0, or of an entry of it, as messages name it: ``turns[0].text``."""
    return f"{TURNS}[{number}]" + (f".{name}" if name else "")


def check_turns(fields: Mapping[str, Any], mode: str) -> list[Finding]:
    """The problems of a record's turns, by turn, where prompts have them; clips are checked with the records' own.

    Args:
        fields: of the record.
        mode: one of `MODES`.
    """
    if mode == NONE:
        return []
    turns = fields.get(TURNS)
    if turns is None:
        near = next(iter(near_matches(TURNS, fields, cutoff=0.75)), None)
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
    elif near := next(iter(near_matches(WAV_PATH, set(turn) - {*_KEYS}, cutoff=0.75)), None):
        problem = f'no "{WAV_PATH}", but "{printable(near)}"'
        findings.append(Finding(WAV_PATH, problem, f'rename it to "{WAV_PATH}"'))
    return [
        Finding(turn_key(number, finding.key or ""), finding.problem, finding.fix)
        for finding in findings
        if finding
    ]


def turn_paths(fields: Mapping[str, Any]) -> dict[str, str]:
    """The path of each turn's clip as written, by the key that messages name; those of valid turns alone."""
    turns = fields.get(TURNS)
    return {
        turn_key(number, WAV_PATH): turn[WAV_PATH]
        for number, turn in enumerate(turns if isinstance(turns, list) else [])
        if isinstance(turn, Mapping) and isinstance(turn.get(WAV_PATH), str)
    }


def turns_of(
    fields: Mapping[str, Any], clips: Mapping[str, tuple[Path, float]]
) -> tuple[Turn, ...]:
    """The turns of a record that has no problem.

    Args:
        fields: of the record.
        clips: path and length in seconds of the clips that prompts have, by key as in `turn_paths`.
    """
    return tuple(
        Turn(turn["role"].strip(), turn["text"].strip(), *clips.get(turn_key(number, WAV_PATH), ()))
        for number, turn in enumerate(fields[TURNS])
    )
