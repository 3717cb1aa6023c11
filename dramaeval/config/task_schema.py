"""The settings of ``task`` and ``task.data``, a part of `dramaeval.config.schema`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from dramaeval.config.fields import TEXT, TEXT_OR_TEXTS, Target, setting

#: Strengths of `dramaeval.data.augmentation.Augmentation`; none: no augmentation.
STRENGTHS = ("none", "light", "strong")

#: The length of the input of Whisper's encoder; a longer clip is divided into windows, or refused.
WINDOW_SECONDS = 30.0
SPLITS = ("train", "val", "test")
#: The prefix of the split of a named test set: ``wild`` in ``task.data.test={wild: b.jsonl}`` is the split test_wild.
NAMED_TEST = "test_"
_SET_NAME = re.compile(r"[A-Za-z0-9_]+")


class OnBad(Enum):
    """The treatment of a file with bad records."""

    stop = "stop"
    skip = "skip"


class OnLong(Enum):
    """The treatment of a clip that is longer than ``task.data.max_seconds``."""

    error = "error"
    trim = "trim"
    segments = "segments"


def text_of(value: OnBad | OnLong | str) -> str:
    """The text of ``on_bad`` or ``on_long``: an enum in a composed configuration, a text in a saved one."""
    return str(getattr(value, "value", value))


@dataclass(kw_only=True)
class DataConfig:
    """``task.data``: the records, and the treatment of bad ones."""

    train: str | None = setting(
        None, help="JSONL file of the training records; null: no such split"
    )
    val: str | None = setting(None, help="JSONL file of the validation records")
    test: Any = setting(
        None,
        help="JSONL file of the test records, or several named test sets: {studio: a.jsonl, wild: b.jsonl}",
        kind=TEXT_OR_TEXTS,
    )
    sample: str | None = setting(
        None, help="folder with train, val and test.jsonl, used if none of the three files is given"
    )
    audio_root: str | None = setting(
        None,
        help="folder in which a relative wav_path is looked up after the folder of the JSONL file",
    )
    on_bad: OnBad = setting(
        OnBad.stop,
        help="stop: report all bad records and end; skip: leave them out, with their number in the report",
    )
    max_seconds: float = setting(
        30.0,
        help="longest clip, in seconds; above 30 with on_long=segments only, up to what the model takes",
        above=0,
        maximum=600,
    )
    on_long: OnLong = setting(
        OnLong.error,
        help="error: a longer clip is a bad record; trim: keep its beginning; segments: take clips above 30 s, up to "
        "max_seconds, as consecutive windows in one prompt",
    )
    workers: int = setting(8, help="threads that read the headers of audio files", minimum=1)


@dataclass(kw_only=True)
class TaskConfig(Target):
    """``task``: a task's class and its arguments; the run itself uses `TASK_KEYS`."""

    name: Any = setting(kind=TEXT, help="name of the task in results")
    labels: str | None = setting(
        None, help="how ratings become targets: a name in task.label_policies"
    )
    label_policies: dict[str, Any] = setting(
        dict, help="label policies by name, each a _target_ with its arguments"
    )
    objective: str = setting(
        "soft_ce", help="objective of this task, used unless trainer.objective is given"
    )
    best_by: str = setting(
        "pearson", help="validation figure by which the best checkpoint is chosen"
    )
    augment: str = setting(
        "none",
        help="random changes of training clips that leave ratings valid: light: level, speed, faint noise; strong: also "
        "louder noise, reverberation, MP3, masked log-mel features",
        choices=STRENGTHS,
    )
    data: DataConfig = setting(DataConfig, help="records")


TASK_KEYS = ("labels", "label_policies", "data", "best_by", "objective", "augment")
#: The keys among them that the tasks of a mixture have in common.
MIXTURE_KEYS = ("best_by", "objective", "augment")


def split_files(data: Any) -> dict[str, str]:
    """The file of each split of a `DataConfig`; the files of the sample if the user gives none.

    Each named test set is a separate split, such as ``test_wild``.
    """
    given = {name: data.get(name) for name in SPLITS}
    if isinstance(given["test"], Mapping):
        given |= {f"{NAMED_TEST}{name}": file for name, file in given.pop("test").items()}
    files = {name: file for name, file in given.items() if isinstance(file, str) and file}
    if files or not data.get("sample"):
        return files
    return {name: str(Path(data.sample) / f"{name}.jsonl") for name in SPLITS}


def test_set_problems(data: Any, where: str) -> list[str]:
    """Problems of the names in ``task.data.test={NAME: FILE, …}``, which become parts of file names."""
    files = data.get("test")
    if not isinstance(files, Mapping):
        return []
    key = f"{where}.test"
    if not files:
        return [f"{key}={{}} names no test set: give {{NAME: FILE}}, or null for none."]
    names = [str(name) for name in files]
    problems = [
        f"{key}.{name}: the name of a test set has letters, digits and _ only."
        for name in names
        if not _SET_NAME.fullmatch(name)
    ]
    if len({name.casefold() for name in names}) < len(names):
        problems.append(f"{key}: two test sets have names that differ in capital letters only.")
    return problems + [
        f"{key}.{name} has no file: give {key}.{name}=FILE, or leave the name out."
        for name, file in files.items()
        if not file
    ]


def long_clip_problems(data: Any, where: str) -> list[str]:
    """Problems of the combination of ``max_seconds`` and ``on_long``."""
    seconds, on_long = data.get("max_seconds", WINDOW_SECONDS), data.get("on_long", OnLong.error)
    if not isinstance(seconds, int | float):
        return []
    segments = text_of(on_long) == OnLong.segments.value
    if segments == (seconds > WINDOW_SECONDS):
        return []
    if not segments:
        return [
            f"{where}.max_seconds={seconds:g}: clips above {WINDOW_SECONDS:g} s are taken as consecutive windows; add "
            f"{where}.on_long=segments, or lower it to {WINDOW_SECONDS:g}."
        ]
    return [
        f"{where}.on_long=segments with {where}.max_seconds={seconds:g} changes nothing: set {where}.max_seconds to the "
        f"length of the longest clip, above {WINDOW_SECONDS:g} s."
    ]


def kind_of_split(name: str) -> str:
    """The kind of a split: ``train``, ``val``, or ``test`` for every test set."""
    return "test" if name.startswith(NAMED_TEST) else name


def test_splits(names: Iterable[str]) -> list[str]:
    """The test sets among the names of splits, in their order."""
    return [name for name in names if kind_of_split(name) == "test"]


def held_out_splits(names: Iterable[str]) -> list[str]:
    """The held-out splits among names: val, then the test sets in their order."""
    names = list(names)
    return [*(name for name in names if name == "val"), *test_splits(names)]


def evidence_splits(names: Iterable[str]) -> list[str]:
    """The held-out splits for which gain, slices and controls are computed: the test sets, else val."""
    names = list(names)
    return test_splits(names) or names[:1]
