"""Training curves from the TensorBoard files of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

Points = Sequence[tuple[int, float]]

MOST_POINTS = 400


def read_curves(folder: Path) -> Mapping[str, Points]:
    """Read every scalar as (step, value), by tag; long curves are thinned evenly to about `MOST_POINTS` points."""
    if not folder.is_dir() or not any(folder.rglob("events.out.tfevents.*")):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    curves = {}
    for tag in events.Tags()["scalars"]:
        points = {event.step: event.value for event in events.Scalars(tag)}
        curves[tag] = _thinned(sorted(points.items()))
    return curves


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    if len(points) <= MOST_POINTS:
        return points
    stride = -(-len(points) // MOST_POINTS)
    thinned = points[::stride]
    return thinned if thinned[-1] == points[-1] else [*thinned, points[-1]]
