"""Reads the records of every split that the stages need, and compares the splits."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.home_folder import expand_home
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import parts_of
from dramaeval.config.task_schema import (
    SPLITS,
    held_out_splits,
    kind_of_split,
    split_files,
    text_of,
)
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import SKIP_ADVICE, Record
from dramaeval.data.shared_content import CLIP
from dramaeval.data.splitting import default_keys, overlap, overlap_remarks
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.importing.direct import Converted
from dramaeval.models.inputs.text_check import TextCheck
from dramaeval.stages.converted_sources import INPUT, Source, convert_sources
from dramaeval.stages.score_input import input_sources, missing_texts_hint, shared_texts
from dramaeval.stages.shards import line_options, require_divisible
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The records by split.

    Attributes:
        records: the records by split.
        skipped: the problems of skipped records by split.
        overlaps: descriptions of the content that splits share.
    """

    records: Mapping[str, list[Record]]
    skipped: Mapping[str, list[Problem]] = field(default_factory=dict)
    overlaps: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> list[Record]:
        return self.records.get(name, [])

    def __iter__(self) -> Iterator[str]:
        return iter(self.records)

    @property
    def held_out(self) -> list[str]:
        """The held-out splits that have records: val, then test or the named test sets."""
        return [name for name in held_out_splits(self.records) if self[name]]

    def of_task(self, name: str, part: str | None) -> list[Record]:
        """The records of a split; with ``part`` only those of one task of a mixture."""
        return [record for record in self[name] if part is None or record.part == part]

    def skipped_summary(self) -> dict[str, Any]:
        """The number of skipped records of each split, and the reasons, for metrics.json."""
        return {
            name: {
                "records": _count_records(problems),
                "problems": [problem.as_dict() for problem in problems],
            }
            for name, problems in self.skipped.items()
            if problems
        }

    def remarks(self, task: Task) -> dict[str, dict[str, int]]:
        """The task's remarks about each split's records, with the number of records."""
        remarks = {name: task.remarks(records) for name, records in self.records.items()}
        return {name: counts for name, counts in remarks.items() if counts}

    def log_remarks(self, task: Task) -> None:
        """Log `remarks`, and the notes about scales of labels or bins."""
        for note in scale_notes(task).values():
            log.info("%s", note)
        for name, counts in self.remarks(task).items():
            for text, count in counts.items():
                log.info("%s: %d of %d records %s.", name, count, len(self[name]), text)


def scale_notes(task: Task) -> dict[str, str]:
    """The notes about scales of labels or bins, by dimension key."""
    return {d.key: d.scale_note for d in task.rated_dimensions if d.scale_note}


def read_splits(
    config: DictConfig,
    task: Task,
    *,
    conversions: Path,
    takes_audio: bool = True,
    processes: Processes = SINGLE_PROCESS,
) -> Splits:
    """Read the files that the stages need.

    Args:
        task: the task, which names the keys that a record must have.
        conversions: the folder for converted records (`dramaeval.importing.direct`).
        takes_audio: whether the judge takes audio; if not, clips need not exist.

    Raises:
        BadRecordsError: lists the problems of all files, unless ``task.data.on_bad=skip``.
    """
    data = config.task.data
    records: dict[str, list[Record]] = {}
    skipped: dict[str, list[Problem]] = {}
    failures: list[BadRecordsError] = []
    sources = _sources(config)
    input_options: dict[str, Any] = {}
    if scores_input(config):
        input_options = line_options(config)
        if texts := shared_texts(config, task):
            input_options["texts"] = texts  # a task class of the user may not have the argument
        sources += input_sources(config, task, conversions, processes)
    converted = convert_sources(config, sources, conversions, processes)
    if "lines" in input_options:
        inputs = [source for source in sources if source.split == INPUT]
        require_divisible(config, [_jsonl(source, converted) for source in inputs])
    for source in sources:
        conversion, is_input = converted.get(source), source.split == INPUT
        try:
            result = task.parts.get(source.part, task).read(
                conversion.file_of(source.split) if conversion else source.file,
                reads_audio=takes_audio,
                annotated=not is_input,
                audio_root=data.audio_root or source.audio_root,
                on_bad=text_of(data.on_bad),
                max_seconds=data.max_seconds,
                on_long=text_of(data.on_long),
                workers=data.workers,
                **(input_options if is_input else {}),
            )
        except BadRecordsError as error:
            if is_input and (hint := missing_texts_hint(error, config, task)):
                error.advice = f"{error.advice}\n{hint}".lstrip()
            failures.append(conversion.in_terms_of_source(error) if conversion else error)
            continue
        records.setdefault(source.split, []).extend(
            replace(record, part=source.part) if source.part else record
            for record in result.records
        )
        if conversion:
            result.skipped = [*conversion.skipped, *result.skipped]
        skipped.setdefault(source.split, []).extend(result.skipped)
        for notice in result.notices:
            log.warning("%s: %s", source.file, notice)
        _log_skipped(source.split, result.skipped, len(result.records))
    raise_together(failures)
    require_unique_ids(records.get(INPUT, []))
    return Splits(records, skipped, _overlaps(records, takes_audio=takes_audio))


def check_texts(splits: Splits, task: Task, text_check: TextCheck, *, skips: bool) -> Splits:
    """Refuse or leave out records whose texts the model would read as markup.

    Args:
        task: the task, which puts the texts into prompts and answers.
        text_check: the check of the model's markup.
        skips: whether such records are left out (``task.data.on_bad=skip``).

    Raises:
        ConfigError: lists texts of the task that the model would read as markup.
        BadRecordsError: lists such texts of records, unless ``skips``.
    """
    if task_problems := text_check.task_problems(task):
        raise ConfigError(task_problems)
    bad = {name: text_check.problems(task, records) for name, records in splits.records.items()}
    all_bad = [problem for problems in bad.values() for problem in problems]
    if not all_bad:
        return splits
    # With the id, since derived pairs of one clip have the same line.
    refused = {(problem.file, problem.line, problem.id) for problem in all_bad}
    records = {
        name: [record for record in split if (record.file, record.line, record.id) not in refused]
        for name, split in splits.records.items()
    }
    if not skips or not all(records.values()):
        raise BadRecordsError(all_bad, SKIP_ADVICE if all(records.values()) else "")
    for name, problems in bad.items():
        _log_skipped(name, problems, len(records[name]))
    skipped = {name: [*splits.skipped.get(name, []), *problems] for name, problems in bad.items()}
    return replace(splits, records=records, skipped=skipped)


def raise_together(failures: Sequence[BadRecordsError]) -> None:
    """Raise the problems of several files as one error."""
    if failures:
        problems = [problem for failure in failures for problem in failure.problems]
        kinds = {type(failure) for failure in failures}
        kind = kinds.pop() if len(kinds) == 1 else BadRecordsError
        raise kind(problems, failures[0].advice)


def _jsonl(source: Source, converted: Mapping[Source, Converted]) -> Path:
    conversion = converted.get(source)
    return conversion.file_of(source.split) if conversion else expand_home(source.file)


def require_unique_ids(records: Sequence[Record]) -> None:
    """Raise BadRecordsError for records of ``input`` that have the same id."""
    first: dict[str, Record] = {}
    repeated = [record for record in records if first.setdefault(record.id, record) is not record]
    if repeated:
        fix = "give every record its own id, or score the files in different runs"
        raise BadRecordsError(
            [
                record.problem("id", f"already used in {first[record.id].file}", fix)
                for record in repeated
            ]
        )


def _sources(config: DictConfig) -> list[Source]:
    """The files of ``task.data`` that the stages need, in the order of the splits."""
    sources = []
    for split in _needed_splits(config):
        for part, node in parts_of(config.task).items():
            for name, file in split_files(node.data).items():
                if kind_of_split(name) == split:
                    task = part if config.task.get("tasks") else ""
                    sources.append(Source(name, task, file, node.data.get("audio_root")))
    return sources


def _needed_splits(config: DictConfig) -> list[str]:
    stages = set(config.stages)
    needed = {"train", "val"} if Stage.train in stages else set()
    needed |= set(SPLITS) if Stage.prepare in stages else set()
    needed |= {"val", "test"} if Stage.evaluate in stages else set()
    # Controls learn from the training split, and few-shot examples are taken from it.
    needed |= {"train"} if Stage.controls in stages or config.task.get("shots") else set()
    return [name for name in SPLITS if name in needed]


def scores_input(config: DictConfig) -> bool:
    """Whether the stages score the clips of ``input=…``."""
    return bool({Stage.score, Stage.leaderboard} & set(config.stages)) and bool(config.input)


def _log_skipped(name: str, problems: Sequence[Problem], kept: int) -> None:
    if not problems:
        return
    skipped = _count_records(problems)
    log.warning(
        "%s: skipped %d of %d records (task.data.on_bad=skip):", name, skipped, skipped + kept
    )
    for problem in problems:
        log.warning(
            "  line %s, id %s, %s: %s", problem.line, problem.id, problem.key, problem.problem
        )


def _count_records(problems: Sequence[Problem]) -> int:
    """The number of records with problems; a split may have several files."""
    return len({(problem.file, problem.line) for problem in problems if problem.line is not None})


def _overlaps(records: Mapping[str, list[Record]], *, takes_audio: bool) -> tuple[str, ...]:
    """Describe and log the content that held-out splits share with the training split."""
    overlaps = []
    # Both clips of a pair are compared.
    records = {
        name: [single for record in split for single in record.single_clips()]
        for name, split in records.items()
    }
    for name in held_out_splits(records) if "train" in records else ():
        keys = default_keys([*records["train"], *records[name]])
        keys = tuple(key for key in keys if key != CLIP or takes_audio)
        remarks = overlap_remarks(overlap(records["train"], records[name], keys), name)
        for remark in remarks:
            overlaps.append(remark)
            log.warning("Scores on %s may be too high: %s", name, remark)
        if not remarks:
            log.info("%s and train share no %s.", name, ", no ".join(keys))
    return tuple(overlaps)
