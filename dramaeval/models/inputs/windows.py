"""Windows: a clip that is longer than the input of the audio encoder is encoded in consecutive windows.

A window is as long as the input of the feature extractor, 30 s for Whisper's. A shorter clip is one window. If the last
window is too short for one audio token, it is left out.
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
    """The number of mel frames of each window of a clip with this number of frames."""
    longest = logmel.max_samples // logmel.hop
    full, rest = divmod(frames, longest)
    counts = [longest] * full
    if rest and (not full or family.audio_tokens(rest)):
        counts.append(rest)
    return counts


def clip_windows(
    family: Family, logmel: LogMel, waveform: np.ndarray, key: str = ""
) -> tuple[ClipFeatures, ...]:
    """Compute the features of each window of a clip; each window is transformed separately.

    Args:
        family: gives the number of audio tokens of a window.
        logmel: transforms a window.
        waveform: float32 mono ``[samples]``.
        key: the key of the clip's features; empty if they are not stored.

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
    """The key of each window of a clip, from the key of the clip; a clip with one window has one key."""
    if count == 1 or not key:
        return [key] * count
    return [f"{key} window {number} of {count}" for number in range(count)]


def unread_windows(family: Family, logmel: LogMel, frames: int) -> tuple[ClipFeatures, ...]:
    """The windows, with lengths and without values, of a clip that is not decoded and has this number of mel frames."""
    empty = np.empty((0, 0), dtype=np.float32)
    return tuple(ClipFeatures(empty, count, 0.0) for count in window_frames(family, logmel, frames))


def with_audio_parts(
    messages: Sequence[Mapping[str, Any]], counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Repeat the audio parts of chat messages, so that there is one part for each window of a clip.

    Args:
        messages: the messages of a prompt.
        counts: number of windows of each clip, in the order of the audio parts.
    """
    remaining = iter(counts)
    return [
        {**message, "content": list(_repeated(message["content"], remaining))}
        if isinstance(message["content"], list)
        else dict(message)
        for message in messages
    ]


def _repeated(content: Sequence[Any], remaining: Iterator[int]) -> Iterator[Any]:
    """Yield the parts of a message; an audio part is repeated for each window of its clip."""
    for part in content:
        is_audio = isinstance(part, Mapping) and part.get("type") == "audio"
        yield from [part] * (next(remaining) if is_audio else 1)
