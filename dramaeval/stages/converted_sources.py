"""Converts the sources of a run that are not JSON Lines, and logs how their columns are read."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config import fields
from dramaeval.config.home_folder import expand_home
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.literal import plain
from dramaeval.config.problems import ConfigError
from dramaeval.config.registration import node_of
from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import files_of
from dramaeval.config.task_schema import OnBad, text_of
from dramaeval.data.import_formats import is_source
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.importing import settings as importer_settings
from dramaeval.importing.direct import Converted, convert, settings_for
from dramaeval.importing.problems import BadSourceError
from dramaeval.stages.builders import build_cache

log = logging.getLogger(__name__)

#: The name of the split of ``input=…``.
INPUT = "input"
#: The name of the folder of all conversions.
FOLDER = "imported"


@dataclass(frozen=True)
class Source:
    """A file of records; ``part`` is the name of its task in a mixture, otherwise empty."""

    split: str
    part: str
    file: str
    audio_root: str | None


def input_items(config: DictConfig) -> list[Any]:
    """The items of ``input`` as a list."""
    value = plain(config.input)
    return value if isinstance(value, list) else [] if value is None else [value]


def conversions_folder(config: DictConfig, run: Path | None) -> Path:
    """The folder of all conversions.

    It is in the cache, so that runs share it. Without a cache it is in the run folder, and without a run folder it is a
    new temporary folder.
    """
    cache = build_cache(config)
    if cache and (folder := cache.side_folder(FOLDER)):
        return folder
    return (run or Path(tempfile.mkdtemp(prefix="dramaeval-"))) / FOLDER


def convert_sources(
    config: DictConfig,
    sources: Sequence[Source],
    folder: Path,
    processes: Processes = SINGLE_PROCESS,
) -> dict[Source, Converted]:
    """Convert the sources that are not JSON Lines files; the result has no entry for JSON Lines files.

    Args:
        sources: the sources of its records.
        folder: see `conversions_folder`.
        processes: the processes of the run. Rank 0 converts; the other ranks then use its files.

    Raises:
        ConfigError: the importer's settings are not valid for a source.
        BadSourceError: lists every problem of all sources.
    """
    others = [source for source in sources if is_source(source.file, config.importer.format)]
    if not others:
        return {}
    settings = {source: _settings(config, source) for source in others}
    problems = [text for node in settings.values() for text in importer_settings.problems(node)]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if not processes.is_rank_zero:
        processes.barrier()
    try:
        return _convert(settings, folder)
    finally:  # after a failure of rank 0, the other ranks report the same problems
        if processes.is_rank_zero:
            processes.barrier()


def _convert(settings: Mapping[Source, ImporterConfig], folder: Path) -> dict[Source, Converted]:
    converted: dict[Source, Converted] = {}
    failures: list[BadSourceError] = []
    logged: set[tuple[Path, Path]] = set()
    for source, importer in settings.items():
        try:
            result = convert(importer, folder)
            result.file_of(source.split)
        except BadSourceError as error:
            failures.append(error)
            continue
        converted[source] = result
        if (result.source, result.folder) not in logged:
            _log(result)
            logged.add((result.source, result.folder))
    if failures:
        problems = dict.fromkeys(problem for failure in failures for problem in failure.problems)
        raise BadSourceError(list(problems), failures[0].advice)
    return converted


def check(config: DictConfig) -> list[str]:
    """The problem of settings of the importer that have no effect."""
    files = [file for files in files_of(config.task).values() for file in files]
    files += map(str, input_items(config))
    kind = config.importer.format
    if Stage["import"] in config.stages or any(is_source(file, kind) for file in files):
        return []
    if OmegaConf.to_object(config.importer) == ImporterConfig():
        return []
    return [
        "importer.… is read by stages=[import], and for files of task.data and input in other formats than JSON Lines; "
        "this run has neither: leave importer out."
    ]


def _settings(config: DictConfig, source: Source) -> ImporterConfig:
    importer: Any = OmegaConf.to_object(config.importer)
    data = config.task.data
    return settings_for(
        source.file,
        importer,
        audio_root=data.audio_root or source.audio_root,
        skips=text_of(data.on_bad) == OnBad.skip.value,
        rated=source.split != INPUT,
    )


def _log(converted: Converted) -> None:
    log.info("%s rows of %s, read as:", f"{converted.rows:,}", converted.source)
    for line in converted.meaning:
        log.info("  %s", line)
    log.info("  the records are in %s", converted.folder)
    for notice in converted.notices:
        log.warning("%s: %s", converted.source.name, notice)


def jsonl_of(config: DictConfig, split: str, file: str) -> Path:
    """The JSON Lines file of a source: the file itself, or its converted records in the cache.

    Args:
        split: the split of the file.
        file: a file of ``task.data``.

    Raises:
        ConfigError: the importer's settings are not valid for the source.
        BadSourceError: lists every problem of a source in another format.
    """
    converted = converted_source(config, split, file)
    return expand_home(file) if converted is None else converted.file_of(split)


def converted_source(config: DictConfig, split: str, file: str) -> Converted | None:
    """The converted records of a source; None for a JSON Lines file. Arguments and errors as for `jsonl_of`."""
    if not is_source(file, config.importer.format):
        return None
    source = Source(split, "", file, None)
    return convert_sources(config, [source], conversions_folder(config, None))[source]


def with_importer(config: DictConfig, importer: Mapping[str, Any]) -> DictConfig:
    """A copy of a configuration with these settings of the importer.

    Raises:
        ConfigError: lists every setting that is unknown or not valid.
    """
    values = {**plain(config.importer), **importer}
    if problems := fields.problems(ImporterConfig, values, "importer"):
        raise ConfigError(problems)
    config = config.copy()
    config.importer = node_of(ImporterConfig, values)
    return config
