"""Windows: the consecutive pieces in which a clip that is longer than the audio encoder's input is encoded.

The length of a window is that of the feature extractor's input, 30 s with Whisper's. A shorter clip is one window. A
rest at the end of a clip that is too short for one audio token is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dramaeval.data.logmel import ClipFeatures, EncodedClip, LogMel
from dramaeval.models.families.base import Family

#: The windows of one clip, in order: their features or their encodings.
Windows = tuple[ClipFeatures | EncodedClip, ...]


def window_frames(family: Family, logmel: LogMel, frames: int) -> list[int]:
    """Number of mel frames of each window of a clip of so many."""
    longest = logmel.max_samples // logmel.hop
    full, rest = divmod(frames, longest)
    counts = [longest] * full
    if rest and (not full or family.audio_tokens(rest)):
        counts.append(rest)
    return counts


def clip_windows(
    family: Family, logmel: LogMel, waveform: np.ndarray, key: str = ""
) -> tuple[ClipFeatures, ...]:
    """The features of each window of a clip; each window is transformed as a clip of its own.

    Args:
        family: gives the audio tokens of a window.
        logmel: transforms a window.
        waveform: float32 mono ``[samples]``.
        key: of the clip's features; empty where they are not kept.

    Raises:
        ValueError: the waveform is empty or not one-dimensional.
    """
    counts = window_frames(family, logmel, math.ceil(waveform.size / logmel.hop)) or [0]
    size = logmel.max_samples
    pieces = [waveform[start * size : (start + 1) * size] for start in range(len(counts))]
    keys = window_keys(key, len(counts))
    return tuple(
        replace(logmel(piece), key=name, window=number)
        for number, (piece, name) in enumerate(zip(pieces, keys, strict=True))
    )


def window_keys(key: str, count: int) -> list[str]:
    """The key of each window of a clip, from the clip's key; the key itself for a clip of one window."""
    if count == 1 or not key:
        return [key] * count
    return [f"{key} window {number} of {count}" for number in range(count)]


def unread_windows(family: Family, logmel: LogMel, frames: int) -> tuple[ClipFeatures, ...]:
    """Windows with lengths and without values, of a clip of so many mel frames that is not decoded."""
    empty = np.empty((0, 0), dtype=np.float32)
    return tuple(ClipFeatures(empty, count, 0.0) for count in window_frames(family, logmel, frames))


def with_audio_parts(
    messages: Sequence[Mapping[str, Any]], counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Chat messages with one audio part for each window in place of one for each clip.

    Args:
        messages: of a prompt.
        counts: windows of each clip, in the order of the audio parts.
    """
    remaining = iter(counts)
    return [
        {**message, "content": list(_repeated(message["content"], remaining))}
        if isinstance(message["content"], list)
        else dict(message)
        for message in messages
    ]


def _repeated(content: Sequence[Any], remaining: Iterator[int]) -> Iterator[Any]:
    """The parts of a message, each audio part as often as its clip has windows."""
    for part in content:
        is_audio = isinstance(part, Mapping) and part.get("type") == "audio"
        yield from [part] * (next(remaining) if is_audio else 1)
