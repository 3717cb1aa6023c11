"""Durations for logs and reports."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format seconds: ``42 s``, ``3:07 min``, ``2:05 h``."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60}:{rounded % 60:02d} min"
    return f"{rounded // 3600}:{rounded % 3600 // 60:02d} h"
