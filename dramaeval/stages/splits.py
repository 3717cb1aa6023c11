"""Reading a run's splits: every problem of every file at once, and a word on what the splits share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.schema import SPLITS, Stage, split_files
from dramaeval.config.task_parts import parts_of
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record
from dramaeval.data.shared_content import CLIP
from dramaeval.data.splitting import APART, overlap
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)

#: The clips of ``input=…``, read as if they were one more split.
INPUT = "input"
#: What splits must not share where clips are not read.
READ_APART = tuple(key for key in APART if key != CLIP)


@dataclass(frozen=True)
class Splits:
    """The records of each split that the stages need, and what was left out."""

    records: Mapping[str, list[Record]]
    skipped: Mapping[str, list[Problem]] = field(default_factory=dict)
    overlaps: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> list[Record]:
        return self.records.get(name, [])

    def skipped_summary(self) -> dict[str, Any]:
        """For metrics.json: how many records of each split were skipped, and which."""
        return {
            name: {
                "records": len({problem.line for problem in problems}),
                "problems": [problem.as_dict() for problem in problems],
            }
            for name, problems in self.skipped.items()
            if problems
        }

    def remarks(self, task: Task, *, tell: bool = False) -> dict[str, dict[str, int]]:
        """What the task has to say about each split's records, with counts; also in the log if ``tell``."""
        found = {name: task.remarks(records) for name, records in self.records.items()}
        for name, said in found.items():
            for text, count in said.items():
                if tell:
                    log.info("%s: %d of %d records %s.", name, count, len(self[name]), text)
        return {name: said for name, said in found.items() if said}


def read_splits(config: DictConfig, task: Task, *, heard: bool = True) -> Splits:
    """Read the JSONL files that the stages need.

    Args:
        config: the run's.
        task: says what a record must hold.
        heard: false for a judge that only reads: clips are not looked up, and need not be there.

    Raises:
        BadRecordsError: with the problems of all files, unless ``task.data.on_bad=skip``.
    """
    data = config.task.data
    records: dict[str, list[Record]] = {}
    skipped: dict[str, list[Problem]] = {}
    failures: list[BadRecordsError] = []
    for name, part, file, root in sources(config, wanted_splits(config)):
        try:
            result = task.parts.get(part, task).read(
                file,
                heard=heard,
                annotated=name != INPUT,
                audio_root=data.audio_root or root,
                on_bad=data.on_bad.value,
                max_seconds=data.max_seconds,
                on_long=data.on_long.value,
                workers=data.workers,
            )
        except BadRecordsError as error:
            failures.append(error)
            continue
        own = [replace(one, part=part) for one in result.records] if part else result.records
        records.setdefault(name, []).extend(own)
        skipped.setdefault(name, []).extend(result.skipped)
        for notice in result.notices:
            log.warning("%s: %s", file, notice)
        _tell_skipped(name, result.skipped, len(result.records))
    if failures:
        problems = [problem for failure in failures for problem in failure.problems]
        raise BadRecordsError(problems, failures[0].advice)
    return Splits(records, skipped, _overlaps(records, APART if heard else READ_APART))


def sources(config: DictConfig, wanted: Sequence[str]) -> list[tuple[str, str, str, str | None]]:
    """The files to read: split, the task where there are several, path, and the clips' folder."""
    found: list[tuple[str, str, str, str | None]] = []
    for name in wanted:
        if name == INPUT:
            found.append((name, "", config.input, None))
            continue
        for part, node in parts_of(config.task).items():
            files = split_files(node.data)
            if name in files:
                several = part if config.task.get("tasks") else ""
                found.append((name, several, files[name], node.data.get("audio_root")))
    return found


def wanted_splits(config: DictConfig) -> list[str]:
    """The splits that the stages read, as far as there are files for them."""
    wanted = {"train", "val"} if Stage.train in config.stages else set()
    wanted |= set(SPLITS) if Stage.prepare in config.stages else set()
    wanted |= {"val", "test"} if Stage.evaluate in config.stages else set()
    # Controls learn from the training split, and examples are taken from it.
    wanted |= {"train"} if Stage.controls in config.stages or config.task.get("shots") else set()
    return [name for name in SPLITS if name in wanted] + [INPUT] * scores_input(config)


def scores_input(config: DictConfig) -> bool:
    """Whether there are clips to be scored beside the splits."""
    return bool({Stage.score, Stage.leaderboard} & set(config.stages)) and bool(config.input)


def _tell_skipped(name: str, problems: list[Problem], kept: int) -> None:
    if not problems:
        return
    lines = sorted({problem.line for problem in problems if problem.line is not None})
    log.warning(
        "%s: skipped %d of %d records (task.data.on_bad=skip):", name, len(lines), len(lines) + kept
    )
    for problem in problems:
        log.warning(
            "  line %s, id %s, %s: %s", problem.line, problem.id, problem.key, problem.problem
        )


def _overlaps(records: Mapping[str, list[Record]], keys: Sequence[str]) -> tuple[str, ...]:
    """What held-out splits share with the training split; each is said in the log."""
    told = []
    for name in ("val", "test"):
        if name not in records or "train" not in records:
            continue
        for shared in overlap(records["train"], records[name], keys):
            told.append(f"{name} and train share {shared}")
            log.warning("Scores on %s may flatter: %s", name, told[-1])
    return tuple(told)
