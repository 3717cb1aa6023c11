"""What `Judge.score` is given, made into what a record holds: texts under their keys, arrays resampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from dramaeval.config.problems import near_match_hint
from dramaeval.data.records import MIN_SECONDS
from dramaeval.tasks.task import Task
from dramaeval.tasks.thought import ThoughtTask

#: Left out of the names that `Judge.score` takes for a record's fields: scene stands for local_scene.
_PREFIXES = ("char_", "local_")
#: The text before the score, where it is given.
THOUGHT = "thought"


def texts_of(
    task: Task, context: Mapping[str, str | Sequence[str]], count: int
) -> list[dict[str, Any]]:
    """The record fields of each clip, from what `Judge.score` was given.

    Raises:
        ValueError: with every text that is missing, unknown or of the wrong number.
    """
    names = {field: _short(field) for field in task.text_fields}
    fields = {name: field for field, short in names.items() for name in (field, short)}
    problems = []
    texts: list[dict[str, Any]] = [{} for _ in range(count)]
    thinks = isinstance(task, ThoughtTask) and task.takes_thought
    if thinks:
        names[THOUGHT] = fields[THOUGHT] = THOUGHT
    for name, value in context.items():
        if name not in fields:
            hint = near_match_hint(name, fields)
            problems.append(
                f"{name} is not a text of the task {task.name}: it takes "
                f"{', '.join(names.values()) or 'none'}.{hint}"
            )
            continue
        values = [value] * count if isinstance(value, str) else list(value)
        if len(values) != count or not all(isinstance(one, str) and one.strip() for one in values):
            problems.append(f"{name} must be a text, or {count} of them, and none of them empty.")
            continue
        for at, one in enumerate(values):
            texts[at][fields[name]] = one
    given = {fields[name] for name in context if name in fields}
    missing = [short for field, short in names.items() if field not in given]
    if missing:
        problems.append(f"missing: {', '.join(f'{name}=…' for name in missing)}.")
    if problems:
        raise ValueError(f"score(task={task.name!r}): " + " ".join(problems))
    if isinstance(task, ThoughtTask) and thinks:
        return [task.with_thought(one, one.pop(THOUGHT)) for one in texts]
    return texts


def _short(field: str) -> str:
    prefix = next((one for one in _PREFIXES if field.startswith(one)), "")
    return field.removeprefix(prefix)


def waveform_of(clip: Any, number: int, rate: int, wanted: int) -> np.ndarray:
    """A clip given as an array, float32 ``[samples]`` at the wanted rate.

    Raises:
        ValueError: it is no mono float array, is empty, or holds NaN or infinity.
    """
    values = clip.detach().cpu().numpy() if isinstance(clip, torch.Tensor) else np.asarray(clip)
    where = f"audio[{number}]"
    if values.ndim != 1 or values.dtype.kind != "f":
        raise ValueError(
            f"{where} must be a file path or a float array [samples] from -1 to 1, not "
            f"{values.dtype} {list(values.shape)}: average channels, divide whole numbers by their largest."
        )
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{where} is empty or holds NaN or infinity.")
    values = values.astype(np.float32)
    if rate == wanted:
        return values
    import soxr

    return soxr.resample(values, rate, wanted, quality="HQ")


def check_length(what: str, seconds: float, data: DictConfig) -> None:
    """Refuse clips that evaluation would refuse; raises ValueError."""
    if seconds < MIN_SECONDS:
        raise ValueError(f"{what} lasts {seconds:.3g} s, too short to be heard.")
    trims = str(getattr(data.on_long, "value", data.on_long)) == "trim"
    if seconds > data.max_seconds and not trims:
        raise ValueError(
            f"{what} lasts {seconds:.2f} s, more than {data.max_seconds:g} s: cut it, or let the run that made "
            "the judge hear only the beginning (task.data.on_long=trim)."
        )
