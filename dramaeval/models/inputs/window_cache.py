"""Stores the features and encodings of clips on disk, by window."""

from __future__ import annotations

from dataclasses import replace

import torch

from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.logmel import ClipFeatures
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache
from dramaeval.models.inputs.windows import Windows, window_keys


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
        return window_keys(key, 1 if entry is None else int(entry["count"]))
