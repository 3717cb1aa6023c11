"""Formats durations for logs, reports and messages, and checks a clip's length."""

from __future__ import annotations

import math

from dramaeval.config.task_schema import WINDOW_SECONDS

MIN_SECONDS = 0.04
"""Length of the shortest clip that can be judged: the audio encoder produces one token per 0.04 s."""


def duration(seconds: float) -> str:
    """Format seconds: ``42 s``, ``3:07 min``, ``2:05 h``."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60}:{rounded % 60:02d} min"
    return f"{rounded // 3600}:{rounded % 3600 // 60:02d} h"


def beside(seconds: float, limit: float) -> str:
    """Seconds with enough digits to differ from a limit: ``31.5``, but ``30.001`` if the limit is 30."""
    texts = (f"{seconds:.{digits}g}" for digits in range(3, 17))
    return next((text for text in texts if float(text) != limit), repr(seconds))


def length_problem(name: str, seconds: float, max_seconds: float) -> tuple[str, str] | None:
    """(problem, fix) of a clip that is too short or too long; None for other clips."""
    if seconds < MIN_SECONDS:
        fix = f"give a clip of at least {MIN_SECONDS} s, or leave the record out"
        return f"{name} lasts {beside(seconds, MIN_SECONDS)} s, too short to be judged", fix
    if seconds > max_seconds:
        fix = "cut the clip, or use only its beginning with task.data.on_long=trim"
        if seconds > WINDOW_SECONDS:
            fix += (
                ", or all of it in several windows with task.data.on_long=segments "
                f"task.data.max_seconds={math.ceil(seconds)}"
            )
        return f"{name} lasts {beside(seconds, max_seconds)} s, more than {max_seconds:g} s", fix
    return None
