"""Converts the arguments of `Judge.score` to the content of records: texts by key, and resampled arrays."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from dramaeval.config.problems import near_match_hint
from dramaeval.config.task_schema import text_of
from dramaeval.data.audio import MAX_RATE
from dramaeval.data.durations import MIN_SECONDS, beside
from dramaeval.data.levels import SCALE_FIX, Levels
from dramaeval.data.problems import one_line
from dramaeval.data.records import Record
from dramaeval.data.turns import AUDIO, NONE, TURNS, WAV_PATH, check_turns
from dramaeval.models.families.base import Family
from dramaeval.models.inputs.question_length import first_too_long
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.tasks.reference import REFERENCE
from dramaeval.tasks.task import Task
from dramaeval.tasks.text_names import all_names, keys_by_name, required_names, short_name
from dramaeval.tasks.thought import ThoughtTask

log = logging.getLogger(__name__)

#: The name of the argument with the text before the score.
THOUGHT = "thought"

#: The lowest sampling rate of an array, in Hz: that of no recording is lower.
MIN_RATE = 1_000


def rate_of(sampling_rate: Any, sample_rate: Any = None) -> Any:
    """The sampling rate of arrays from the two arguments that name it, in Hz; None means the rate of the model.

    Raises:
        ValueError: the arguments differ, or are no sampling rate.
    """
    given = [rate for rate in (sampling_rate, sample_rate) if rate is not None]
    for rate in given:
        require_rate(rate, "sample_rate")
    if len({float(rate) for rate in given}) > 1:
        raise ValueError(
            f"sample_rate={sample_rate} and sampling_rate={sampling_rate}: give one of them."
        )
    return given[0] if given else None


def require_rate(rate: Any, name: str) -> None:
    """Raise ValueError if a value is no sampling rate in Hz."""
    if (
        isinstance(rate, Real)
        and not isinstance(rate, bool)
        and MIN_RATE <= float(rate) <= MAX_RATE
    ):
        return
    raise ValueError(
        f"{name}={rate!r} must be a number of samples per second from {MIN_RATE:,} to {MAX_RATE:,}, such as 16000."
    )


def require_count(value: Any, name: str) -> None:
    """Raise ValueError if a value is no whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number, 1 or more.")


def dimension_keys(dimensions: Any) -> tuple[str, ...] | None:
    """The keys in the argument ``dimensions``; None means all dimensions.

    Raises:
        ValueError: the argument is not a list of keys.
    """
    if dimensions is None:
        return None
    is_list = isinstance(dimensions, Collection) and not isinstance(dimensions, str | bytes)
    keys = tuple(dimensions) if is_list else ()
    if not keys or not all(isinstance(key, str) for key in keys):
        raise ValueError(
            f"dimensions={dimensions!r} must be a list of the keys of dimensions, such as "
            'dimensions=["emotion_accuracy"]; without it all are scored.'
        )
    return keys


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
        is_list = isinstance(value, Collection) and not isinstance(value, bytes | Mapping)
        values = [value] * count if isinstance(value, str) or not is_list else list(value)
        if len(values) != count or not all(
            isinstance(text, str) and text.strip() for text in values
        ):
            problems.append(
                f"{name}={one_line(repr(value), 60)} must be a text, or a list with a text for each of the {count} clips, and no "
                "text may be empty."
            )
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


def require_usable_prompts(
    record_encoder: RecordEncoder, records: Sequence[Record], model: Any
) -> None:
    """Refuse texts that the model would read as markup, and questions that are longer than its positions.

    Raises:
        ValueError: lists the number of the clip and the name of each such text, or the number of each such clip.
    """
    task, text_check = record_encoder.task, record_encoder.text_check
    problems = text_check.task_problems(task)
    problems += [
        f"audio[{problem.line}]: {short_name(problem.key or '')} {problem.problem}: {problem.fix}."
        for problem in text_check.problems(task, records)
    ]
    if not problems:
        positions = positions_of(record_encoder.family, model)
        problems = [
            f"audio[{problem.line}]: {problem.problem}: {problem.fix}."
            for record in records
            if (problem := first_too_long(record_encoder, record, positions))
        ]
    if problems:
        raise ValueError(f"score(task={task.name!r}): " + " ".join(problems))


def positions_of(family: Family, model: Any) -> int | None:
    """The number of positions that a loaded model has for a question; None without a limit."""
    positions = family.positions(model.config)
    adapter = getattr(model, "active_peft_config", None)
    if positions is None or adapter is None or not adapter.is_prompt_learning:
        return positions
    return positions - int(adapter.num_virtual_tokens or 0)


def waveform_of(clip: Any, number: int, rate: int | None, target_rate: int) -> np.ndarray:
    """A clip in an array as float32 ``[samples]`` at the target rate, in Hz.

    Args:
        clip: floats ``[samples]``, or an item of the audio column of a data set: a mapping with ``array`` and
            ``sampling_rate``, or a decoder.
        number: position of the clip, for messages.
        rate: sampling rate of the array, in Hz; None means the rate in the mapping, or else the target rate.
        target_rate: sampling rate of the result, in Hz.

    Raises:
        ValueError: the clip is not a mono float array, is empty, contains NaN, infinity or unscaled samples, or has two
            different rates or one that is none.
    """
    where = f"audio[{number}]"
    if hasattr(
        clip, "get_all_samples"
    ):  # an audio column of datasets 4 holds decoders of torchcodec
        samples = clip.get_all_samples()
        clip = {"array": samples.data.mean(dim=0), "sampling_rate": samples.sample_rate}
    if isinstance(clip, Mapping) and {"array", "sampling_rate"} <= set(clip):
        require_rate(clip["sampling_rate"], f"{where} with sampling_rate")
        if rate not in (None, clip["sampling_rate"]):
            raise ValueError(
                f"{where} has a rate of {clip['sampling_rate']} Hz, but sampling_rate={rate}: leave one out."
            )
        clip, rate = clip["array"], clip["sampling_rate"]
    if advice := _no_samples(clip):
        raise ValueError(
            f"{where} must be a file path or a float array [samples] from -1 to 1, not a {type(clip).__name__}: {advice}."
        )
    if isinstance(clip, torch.Tensor):
        clip = clip.detach().cpu()
        clip = (clip.float() if clip.is_floating_point() else clip).numpy()
    values = np.asarray(clip)
    if values.ndim != 1 or values.dtype.kind != "f":
        raise ValueError(
            f"{where} must be a file path or a float array [samples] from -1 to 1, not "
            f"{values.dtype} {list(values.shape)}: {_advice(values)}."
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


def _no_samples(clip: Any) -> str | None:
    """What to do with a value that has no samples, such as an open file; None for arrays and what becomes one."""
    if isinstance(clip, bytes | bytearray | memoryview):
        return "decode the bytes: array, rate = soundfile.read(io.BytesIO(data), dtype='float32')"
    if isinstance(clip, io.IOBase):
        return "decode the file: array, rate = soundfile.read(file, dtype='float32')"
    if isinstance(clip, Mapping):
        return "a mapping needs the keys array and sampling_rate, as an item of a decoded audio column has them"
    if isinstance(clip, torch.Tensor):
        is_dense = clip.layout is torch.strided and not clip.is_quantized
        return (
            None if is_dense and clip.device.type != "meta" else "give a dense tensor with values"
        )
    if hasattr(clip, "__array__") or isinstance(clip, list | tuple):
        return None
    return "give the samples of a clip as one array, and several clips as a list of arrays"


def _advice(values: np.ndarray) -> str:
    """How to make mono float samples of an array."""
    advice = ["average channels"] if values.ndim > 1 else []
    if values.dtype.kind in "iu":
        divisor = -np.iinfo(values.dtype).min
        here = f" (here {divisor})" if divisor else ""
        advice.append(f"divide whole numbers by their largest{here}")
    elif values.dtype.kind != "f":
        advice.append("give floats")
    return ", ".join(advice) or "give the samples of a clip as one array"


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
