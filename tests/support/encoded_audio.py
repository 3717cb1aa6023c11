"""Writes audio files with FFmpeg's encoders."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def encoded(
    path: Path,
    kind: str,
    codec: str,
    samples: np.ndarray,
    *,
    rate: int = 16_000,
    **options: str,
) -> Path:
    """Encode float32 samples ``[channels, samples]`` or ``[samples]`` as a file of FFmpeg's format ``kind``."""
    samples = np.atleast_2d(samples).astype(np.float32)
    layout = "mono" if len(samples) == 1 else "stereo"
    with av.open(path, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.rate, frame.pts = rate, 0
        split = av.AudioResampler(
            format=stream.format,
            layout=layout,
            rate=rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for part in [*split.resample(frame), *split.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path
