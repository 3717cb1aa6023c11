"""Converts the arguments of `Judge.score` to the content of records: texts by key, and resampled arrays."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from dramaeval.config.problems import near_match_hint
from dramaeval.config.task_schema import text_of
from dramaeval.data.durations import MIN_SECONDS, beside
from dramaeval.data.levels import SCALE_FIX, Levels
from dramaeval.data.records import Record
from dramaeval.data.turns import AUDIO, NONE, TURNS, WAV_PATH, check_turns
from dramaeval.models.inputs.text_check import TextCheck
from dramaeval.tasks.reference import REFERENCE
from dramaeval.tasks.task import Task
from dramaeval.tasks.text_names import all_names, keys_by_name, required_names, short_name
from dramaeval.tasks.thought import ThoughtTask

log = logging.getLogger(__name__)

#: The name of the argument with the text before the score.
THOUGHT = "thought"


def texts_of(
    task: Task, context: Mapping[str, str | Sequence[str]], count: int
) -> list[dict[str, Any]]:
    """The record fields of each clip, from the keywords of `Judge.score`.

    Raises:
        ValueError: lists every text that is missing or unknown, and every list that does not have one text per clip.
    """
    required, names = required_names(task), all_names(task)
    for texts_of_task in (required, names):
        texts_of_task.pop(REFERENCE, None)  # a separate argument of `Judge.score`
    fields = keys_by_name(names)
    problems = []
    texts: list[dict[str, Any]] = [{} for _ in range(count)]
    thinks = isinstance(task, ThoughtTask) and task.needs_thought
    if thinks:
        names[THOUGHT] = required[THOUGHT] = fields[THOUGHT] = THOUGHT
    for name, value in context.items():
        if name not in fields:
            hint = near_match_hint(name, fields)
            problems.append(
                f"{name} is not a text of the task {task.name}: it takes "
                f"{', '.join(names.values()) or 'none'}.{hint}"
            )
            continue
        values = [value] * count if isinstance(value, str) else list(value)
        if len(values) != count or not all(
            isinstance(text, str) and text.strip() for text in values
        ):
            problems.append(f"{name} must be a text, or {count} of them, and none of them empty.")
            continue
        for clip_texts, text in zip(texts, values, strict=True):
            clip_texts[fields[name]] = text
    present = {fields[name] for name in context if name in fields}
    missing = [short for field, short in required.items() if field not in present]
    if missing:
        example = ", ".join(f'{name}="…"' for name in required.values())
        problems.append(
            f"missing: {', '.join(f'{name}=…' for name in missing)}. "
            f'For example: judge.score("clip.wav", {example}).'
        )
    if problems:
        raise ValueError(f"score(task={task.name!r}): " + " ".join(problems))
    if isinstance(task, ThoughtTask) and thinks:
        return [task.fields_with_thought(values, values.pop(THOUGHT)) for values in texts]
    return texts


def references_of(task: Task, reference: Any, count: int) -> list[Any]:
    """The reference of each clip, from the argument of `Judge.score`; None if the task uses no references.

    The argument is one recording for all clips, or a list with one for each clip.

    Raises:
        ValueError: a reference is missing, not used, or not one per clip.
    """
    keys = [dimension.key for dimension in task.dimensions if dimension.reference]
    if not keys:
        if reference is not None:
            raise ValueError(
                f"score(task={task.name!r}): reference=… is not used: no dimension of the rubric {task.rubric.name} has "
                "reference: true."
            )
        return [None] * count
    references = list(reference) if isinstance(reference, list | tuple) else [reference] * count
    if len(references) != count or any(clip is None for clip in references):
        raise ValueError(
            f"score(task={task.name!r}): {', '.join(keys)} are judged beside a reference: give reference=…, one recording "
            f"for all clips or a list of {count}."
        )
    return references


def raters_of(task: Task, rater: Any, count: int, known: Sequence[str] | None) -> list[str | None]:
    """The rater whose score the judge predicts for each clip, from the argument of `Judge.score`; None: the raters' mean.

    The argument is one rater for all clips, or a list with one for each clip. ``known`` are the raters of the judge's
    training; None if the judge does not list them.

    Raises:
        ValueError: the judge has no listener model, or a rater is unknown or not one per clip.
    """
    raters = list(rater) if isinstance(rater, list | tuple) else [rater] * count
    where = f"score(task={task.name!r})"
    if len(raters) != count:
        raise ValueError(f"{where}: {len(raters)} raters for {count} clips: give one for each.")
    names = dict.fromkeys(name for name in raters if name is not None)
    if not names:
        return raters
    if not task.has_listeners:
        raise ValueError(
            f"{where}: rater=… needs a judge that was trained with task.listeners=embed, and this one was not: leave "
            "it out."
        )
    if not known:
        raise ValueError(
            f"{where}: rater=… needs the raters of the judge's training, and its judge.yaml does not list them (a "
            "published judge lists no people, nor does one of an earlier version): leave it out, or load the run folder."
        )
    if unknown := [name for name in names if name not in known]:
        listed = ", ".join(map(repr, unknown))
        raise ValueError(
            f"{where}: no rater of the training is named {listed}; the raters are {', '.join(known)}."
            + near_match_hint(str(unknown[0]), known)
        )
    return raters


def turns_of(task: Task, turns: Any, count: int) -> list[list[dict[str, Any]]]:
    """The turns before each clip, from the argument of `Judge.score`; without audio unless ``task.turns=audio``.

    The argument is a list of mappings with ``role``, ``text`` and optionally ``wav_path`` for all clips, or a list of such
    lists, one for each clip; None if the task uses no turns.

    Raises:
        ValueError: turns are missing, not used, not one list per clip, or not valid; lists all problems.
    """
    where = f"score(task={task.name!r})"
    if task.turns == NONE:
        if turns is not None:
            raise ValueError(f"{where}: turns=… is not used: this judge has task.turns=none.")
        return [[] for _ in range(count)]
    if not isinstance(turns, list | tuple):
        raise ValueError(
            f"{where}: this judge reads the turns before a clip: give turns=[{{'role': …, 'text': …}}, …], "
            "[] for a clip without turns, or a list of such lists, one for each clip."
        )
    lists = list(turns)
    if not (turns and all(isinstance(entry, list | tuple) for entry in turns)):
        lists = [turns] * count
    if len(lists) != count:
        raise ValueError(
            f"{where}: {len(lists)} lists of turns for {count} clips: give one for each."
        )
    problems = {
        f"{finding.key} {finding.problem}: {finding.fix}."
        for turns_of_clip in lists
        for finding in check_turns({TURNS: list(map(_with_path, turns_of_clip))}, task.turns)
    }
    if problems:
        raise ValueError(f"{where}: " + " ".join(sorted(problems)))
    without_audio = {} if task.turns == AUDIO else {WAV_PATH: None}
    return [[{**turn, **without_audio} for turn in turns_of_clip] for turns_of_clip in lists]


def _with_path(turn: Any) -> Any:
    """A turn for `check_turns`, which expects a path; samples are replaced by a path and checked later."""
    if isinstance(turn, Mapping) and not isinstance(turn.get(WAV_PATH), str | int | float | None):
        return {**turn, WAV_PATH: WAV_PATH}
    return turn


def require_plain_texts(text_check: TextCheck, task: Task, records: Sequence[Record]) -> None:
    """Refuse texts that the model would read as markup.

    Raises:
        ValueError: lists the number of the clip and the name of each such text.
    """
    problems = text_check.task_problems(task)
    problems += [
        f"audio[{problem.line}]: {short_name(problem.key or '')} {problem.problem}: {problem.fix}."
        for problem in text_check.problems(task, records)
    ]
    if problems:
        raise ValueError(f"score(task={task.name!r}): " + " ".join(problems))


def waveform_of(clip: Any, number: int, rate: int | None, target_rate: int) -> np.ndarray:
    """A clip in an array as float32 ``[samples]`` at the target rate, in Hz.

    Args:
        clip: floats ``[samples]``, or an item of the audio column of a data set: a mapping with ``array`` and
            ``sampling_rate``.
        number: position of the clip, for messages.
        rate: sampling rate of the array, in Hz; None means the rate in the mapping, or else the target rate.
        target_rate: sampling rate of the result, in Hz.

    Raises:
        ValueError: the clip is not a mono float array, is empty, contains NaN, infinity or unscaled samples, or has two
            different rates.
    """
    where = f"audio[{number}]"
    if isinstance(clip, Mapping) and {"array", "sampling_rate"} <= set(clip):
        if rate not in (None, clip["sampling_rate"]):
            raise ValueError(
                f"{where} has a rate of {clip['sampling_rate']} Hz, but sampling_rate={rate}: leave one out."
            )
        clip, rate = clip["array"], int(clip["sampling_rate"])
    if isinstance(clip, torch.Tensor):
        clip = clip.detach().cpu()
        clip = (clip.float() if clip.is_floating_point() else clip).numpy()
    values = np.asarray(clip)
    if values.ndim != 1 or values.dtype.kind != "f":
        raise ValueError(
            f"{where} must be a file path or a float array [samples] from -1 to 1, not "
            f"{values.dtype} {list(values.shape)}: average channels, divide whole numbers by their largest"
            f"{_divisor(values.dtype)}."
        )
    with np.errstate(over="ignore"):  # the check below reports infinity
        values = values.astype(np.float32)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{where} is empty or holds NaN or infinity.")
    levels = Levels()
    levels.add(values[:, None])
    if reason := levels.problem():
        raise ValueError(f"{where}: {reason}; {SCALE_FIX}.")
    if remark := levels.remark(values):
        log.warning("%s %s.", where, remark)
    if rate in (None, target_rate):
        return values
    import soxr

    return soxr.resample(values, rate, target_rate, quality="HQ")


def _divisor(dtype: np.dtype[Any]) -> str:
    """The divisor that scales signed whole numbers to ±1, for the message."""
    return f" (here {-np.iinfo(dtype).min})" if dtype.kind == "i" else ""


def check_length(clip: str, seconds: float, data: DictConfig) -> None:
    """Raise ValueError if a clip is too short or too long, with the limits of the stage ``evaluate``."""
    if seconds < MIN_SECONDS:
        raise ValueError(
            f"{clip} lasts {beside(seconds, MIN_SECONDS)} s, less than {MIN_SECONDS:g} s."
        )
    trims = text_of(data.on_long) == "trim"
    if seconds > data.max_seconds and not trims:
        raise ValueError(
            f"{clip} lasts {beside(seconds, data.max_seconds)} s, more than {data.max_seconds:g} s: cut it, or "
            "load a run in which the judge takes only the beginning of a clip (task.data.on_long=trim) or several "
            "windows of it (task.data.on_long=segments)."
        )
