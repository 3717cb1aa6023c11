"""Records with the samples of their clip in the line, in place of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dramaeval.data.audio import decode
from dramaeval.data.records import Record

INLINE = Path("audio")
"""The path of the clip of a record that contains audio samples."""


def inline_audio(record: Record) -> np.ndarray | None:
    """The audio samples in the line of a processed record; None if the record has a file."""
    if record.clip != INLINE:
        return None
    return np.asarray(record.fields["audio"], dtype=np.float32)


def clip_samples(record: Record, rate: int, max_seconds: float) -> np.ndarray:
    """A record's clip, mono float32 ``[samples]`` at ``rate``, cut at ``max_seconds``; samples in the line have this rate.

    Raises:
        UnreadableClipError: the file of the clip cannot be decoded.
    """
    samples = inline_audio(record)
    if samples is None:
        return decode(record.clip, rate, max_seconds=max_seconds)
    return samples[: int(max_seconds * rate + 1e-6)]  # as `decode` cuts
