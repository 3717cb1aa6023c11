"""Durations for logs, reports and messages."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format seconds: ``42 s``, ``3:07 min``, ``2:05 h``."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60}:{rounded % 60:02d} min"
    return f"{rounded // 3600}:{rounded % 3600 // 60:02d} h"


def beside(seconds: float, limit: float) -> str:
    """Seconds with as many digits as make them differ from a limit: ``31.5``, but ``30.001`` beside 30."""
    texts = (f"{seconds:.{digits}g}" for digits in range(3, 17))
    return next((text for text in texts if float(text) != limit), repr(seconds))
