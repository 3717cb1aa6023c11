"""The settings of ``task`` and of its records, a part of `dramaeval.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from dramaeval.config.fields import TEXT, Target, setting

SPLITS = ("train", "val", "test")


class OnBad(Enum):
    """The treatment of a file with bad records."""

    stop = "stop"
    skip = "skip"


class OnLong(Enum):
    """The treatment of a clip that is longer than ``task.data.max_seconds``."""

    error = "error"
    trim = "trim"


@dataclass(kw_only=True)
class DataConfig:
    """``task.data``: the records, and the treatment of bad ones."""

    train: str | None = setting(
        None, help="JSONL file of the training records; null: no such split"
    )
    val: str | None = setting(None, help="JSONL file of the validation records")
    test: str | None = setting(None, help="JSONL file of the test records")
    sample: str | None = setting(
        None, help="folder with train, val and test.jsonl, used if none of the three files is given"
    )
    audio_root: str | None = setting(
        None,
        help="folder in which relative wav_path are looked up after the JSONL file's own folder",
    )
    on_bad: OnBad = setting(
        OnBad.stop,
        help="stop: report all bad records and end; skip: leave them out, with their number in the report",
    )
    max_seconds: float = setting(
        30.0, help="longest clip, in seconds; audio encoders take at most 30", above=0, maximum=30
    )
    on_long: OnLong = setting(
        OnLong.error, help="error: a longer clip is a bad record; trim: keep its beginning"
    )
    workers: int = setting(8, help="threads that read the headers of audio files", minimum=1)


@dataclass(kw_only=True)
class TaskConfig(Target):
    """``task``: a task's class and its arguments; the run uses `TASK_KEYS` beside the class."""

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
    data: DataConfig = setting(DataConfig, help="records")


TASK_KEYS = ("labels", "label_policies", "data", "best_by", "objective")


def split_files(data: Any) -> dict[str, str]:
    """The JSONL file of each split of a `DataConfig`: the files given, or those of the sample if none is."""
    given = {name: data[name] for name in SPLITS if data.get(name)}
    if given or not data.get("sample"):
        return given
    return {name: str(Path(data.sample) / f"{name}.jsonl") for name in SPLITS}
