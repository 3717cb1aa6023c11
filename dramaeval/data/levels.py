"""Checks the level of decoded audio: samples that were not scaled, silence, and clipping."""

from __future__ import annotations

import logging
from collections import defaultdict

import numpy as np

log = logging.getLogger(__name__)

#: Largest accepted sample (+24 dB; full scale is 1); larger ones are integers that were not scaled.
MAX_LEVEL = 16.0
SCALE_FIX = "divide 16-bit values by 32768, so that full scale is 1"

#: Full scale; a clipped recording often reaches it at two consecutive samples, a normalised recording seldom.
_FULL = 0.9999
#: Larger shares of such samples mean that a clip is clipped (8 per second at 16 kHz).
_CLIPPED_SHARE = 0.0005
#: A clip below this level (-80 dB) is silent.
_SILENT = 1e-4
#: Channels cancel each other if the peak of their mean is below this share of the loudest channel's peak (-40 dB).
_CANCELLED = 0.01
#: Number of clips that the log names for each kind of remark, so that it does not become too long.
_NAMED = 5
_reported: defaultdict[str, set[str]] = defaultdict(set)


class Levels:
    """Collects the levels of a clip block by block; `peak` is the largest absolute sample of any channel."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._frames = self._clipped = 0

    def add(self, block: np.ndarray) -> None:
        """Add frames ``[frames, channels]`` of floats."""
        self._frames += len(block)
        peak = _peak(block)
        self.peak = max(self.peak, peak)
        if peak >= _FULL:
            full = (np.abs(block) >= _FULL).any(axis=1)
            self._clipped += int((full[1:] & full[:-1]).sum())

    def problem(self) -> str | None:
        """Why the samples cannot be audio with full scale 1, or None."""
        if self.peak <= MAX_LEVEL:
            return None
        return f"its samples reach {self.peak:,.6g}, but full scale is 1: they were not scaled"

    def remark(self, mono: np.ndarray) -> str | None:
        """What is unusual about a clip, or None; `mono` is the mean of its channels ``[samples]``."""
        if self.peak < _SILENT:
            return "is silent"
        if _peak(mono) < _CANCELLED * self.peak:
            return "is silent as mono, because its channels cancel each other (opposite signs)"
        if self._clipped > _CLIPPED_SHARE * self._frames:
            share = 100 * self._clipped / self._frames
            return f"is clipped: {share:.2g} % of its samples stay at full scale"
        return None


def _peak(values: np.ndarray) -> float:
    return max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))


def report(clip: str, remark: str | None) -> None:
    """Log a remark once per clip, for the first `_NAMED` clips with the same remark."""
    if remark is None:
        return
    clips = _reported[remark.partition(":")[0]]
    if clip in clips:
        return
    clips.add(clip)
    if len(clips) <= _NAMED:
        more = "" if len(clips) < _NAMED else " (further such clips are not listed)"
        log.warning("%s %s%s.", clip, remark, more)
