"""Windows: a clip that is longer than the input of the audio encoder is encoded in consecutive windows.

A window is as long as the input of the feature extractor, 30 s for Whisper's. A shorter clip is one window. If the last
window is too short for one audio token, it is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.logmel import ClipFeatures, EncodedClip, LogMel
from dramaeval.models.families.base import Family
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache

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
    keys = _window_keys(key, len(counts))
    return tuple(
        replace(logmel(piece), key=name, window=number)
        for number, (piece, name) in enumerate(zip(pieces, keys, strict=True))
    )


def _window_keys(key: str, count: int) -> list[str]:
    """The key of each window of a clip, from the key of the clip; a clip with one window has one key."""
    if count == 1 or not key:
        return [key] * count
    return [f"{key} window {number} of {count}" for number in range(count)]


def with_audio_parts(
    messages: Sequence[Mapping[str, Any]], counts: Sequence[int]
) -> list[dict[str, Any]]:
    """Repeat the audio parts of chat messages by the number of windows of each clip, in the order of the parts."""
    remaining = iter(counts)
    repeated = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            copies = [next(remaining) if part.get("type") == "audio" else 1 for part in content]
            content = [part for part, n in zip(content, copies, strict=True) for _ in range(n)]
        repeated.append({**message, "content": content})
    return repeated


class WindowCache:
    """Reads and writes the windows of clips.

    A clip with one window is stored under its key. Each window of a longer clip has a separate key, and the number of
    windows is stored too.

    Args:
        cache: stores the windows on disk; None stores nothing.
        has_long_clips: whether a clip may have several windows.
    """

    def __init__(self, cache: FeatureCache | None, *, has_long_clips: bool) -> None:
        self.cache = cache
        self.has_long_clips = has_long_clips

    def features(self, key: str) -> tuple[ClipFeatures, ...] | None:
        """The stored features of a clip's windows; None if one is missing."""
        if self.cache is None or not key:
            return None
        windows = []
        for number, name in enumerate(self._keys(key)):
            entry = self.cache.get(f"log-mel {name}")
            if not entry:
                return None
            values, frames = entry["values"].numpy(), int(entry["frames"])
            windows.append(ClipFeatures(values, frames, float(entry["floor"]), name, number))
        return tuple(windows)

    def encodings(self, encodings: AudioEncodingCache, key: str) -> Windows | None:
        """The stored encodings of a clip's windows; None if one is missing."""
        windows = []
        for number, name in enumerate(self._keys(key)):
            window = encodings.get(name)
            if window is None:
                return None
            windows.append(replace(window, window=number))
        return tuple(windows)

    def put(self, key: str, windows: tuple[ClipFeatures, ...], *, features: bool) -> None:
        """Store the number of a clip's windows, and their features if ``features`` is true."""
        if self.cache is None or not key:
            return
        if len(windows) > 1:
            self.cache.put(f"windows {key}", {"count": torch.tensor(len(windows))})
        for window in windows if features else ():
            entry = {
                "values": torch.from_numpy(window.values),
                "frames": torch.tensor(window.frames),
                "floor": torch.tensor(window.floor, dtype=torch.float64),
            }
            self.cache.put(f"log-mel {window.key}", entry)

    def _keys(self, key: str) -> list[str]:
        """The key of each window; the key of the clip if the number of windows is not stored."""
        entry = None
        if self.has_long_clips and self.cache is not None and key:
            entry = self.cache.get(f"windows {key}")
        return _window_keys(key, 1 if entry is None else int(entry["count"]))
