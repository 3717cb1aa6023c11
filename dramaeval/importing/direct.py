"""Sources in other formats that are named in place of a JSONL file: the importer converts them once to JSON Lines.

The records of each source are in a separate folder, with a file for each split of the source. They are converted again
if the source, the settings or the importer change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dramaeval.config.home_folder import expand_home
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.task_schema import NAMED_TEST, kind_of_split
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.data.import_formats import ENDINGS, OTHER_FORMATS, folder_format, is_hub_name
from dramaeval.data.jsonl import json_lines
from dramaeval.data.manifest import entry_of
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.distributed.replacing import UNFINISHED
from dramaeval.importing.importer import read_import, records_text, write_own_splits
from dramaeval.importing.problems import BadSourceError

#: The version of the conversion; it increases when the importer writes other records for the same source.
VERSION = 4
RECORDS, STATE = "records.jsonl", "conversion.json"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """The converted records of a source.

    Attributes:
        source: the file or folder.
        folder: the folder of the records.
        rows: the number of rows.
        meaning: the meaning of each column, as text.
        notices: remarks for the user.
        skipped: problems of the clips that were left out.
        splits: the name of the file of each split in the source; empty if the source has no splits.
    """

    source: Path
    folder: Path
    rows: int
    meaning: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)

    def file_of(self, split: str) -> Path:
        """The JSONL file of a split; it has all records if the source has no splits, and for ``input``.

        Raises:
            BadSourceError: the source has splits, but not this split.
        """
        if not self.splits or kind_of_split(split) not in ("train", "val", "test"):
            return self.folder / RECORDS
        for name in (split.removeprefix(NAMED_TEST), kind_of_split(split)):
            if name in self.splits:
                return self.folder / self.splits[name]
        problem = (
            f"no record is of the split {kind_of_split(split)}; there are {', '.join(self.splits)}"
        )
        fix = "give a file for this split, or set importer.columns.split=none to use all records"
        raise BadSourceError.of_file(self.source, problem, fix)

    def in_terms_of_source(self, error: BadRecordsError) -> BadSourceError:
        """The problems of the converted records, with rows of the source in place of lines of the JSONL file."""
        rows: dict[tuple[Path, int], int] = {}
        for file in {problem.file for problem in error.problems}:
            if file.is_file():
                rows |= {
                    (file, number): json.loads(line)["source"][0]["row"]
                    for number, line in json_lines(file)
                }
        return BadSourceError(
            [
                replace(problem, file=self.source, line=rows.get((problem.file, problem.line or 0)))
                for problem in error.problems
            ],
            error.advice,
        )


def settings_for(
    file: str, importer: ImporterConfig, *, audio_root: str | None, skips: bool, rated: bool
) -> ImporterConfig:
    """The importer's settings for one source.

    Args:
        file: the source.
        importer: the user's settings for all sources.
        audio_root: the folder of the clips; None for ``importer.audio_root``.
        skips: whether clips with problems are left out.
        rated: whether ratings are read; if not, no column with ratings is searched.
    """
    path, kind = expand_home(file), importer.format
    if is_hub_name(file):
        kind = folder_format(path)
    elif path.is_dir():
        # With importer.files the settings describe the layout of the folder.
        kind = kind if importer.files is not None else folder_format(path, kind) or kind
    elif path.suffix.lower() in OTHER_FORMATS:
        kind = ENDINGS[path.suffix.lower()]
    without = importer.dimensions is None and (not rated or kind == "audio_folder")
    return replace(
        importer,
        file=file,
        format=kind,
        audio_root=audio_root or importer.audio_root,
        dimensions=[] if without else importer.dimensions,
        bad_records="skip" if skips else importer.bad_records,
    )


def convert(settings: ImporterConfig, root: Path) -> Converted:
    """Convert a source (see `settings_for`), unless ``root``, the folder of all conversions, already has the records.

    Several processes may convert a source at the same time, since each file is replaced in one step by equal content.

    Raises:
        BadSourceError: lists every problem of the source.
    """
    source = expand_home(str(settings.file))
    source = source if is_hub_name(source) else source.absolute()
    settings = replace(settings, file=str(source))
    key = json.dumps([VERSION, asdict(settings)], sort_keys=True, default=str)
    folder = root / f"{source.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    content = _digest(source, settings)
    if converted := _earlier(folder, source, content):
        return converted
    imported = read_import(settings, folder / "clips", notes_scales=False)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / RECORDS, records_text(imported.records), verbatim=True)
    splits = write_own_splits(imported, folder) if any(imported.splits) else {}
    converted = Converted(
        source=source,
        folder=folder,
        rows=imported.rows,
        meaning=list(imported.meaning.lines()),
        notices=imported.notices,
        skipped=imported.skipped,
        splits={name: path.name for name, path in splits.items()},
    )
    _write_state(converted, content)
    return converted


def _digest(source: Path, settings: ImporterConfig) -> str:
    """A hash of the names, sizes and times of the source's files; a data set of the hub has no files."""
    base = source if source.is_dir() else source.parent
    files = [*_files(source), *(base / name for name in settings.joins)]
    existing = [(str(file), file.stat()) for file in files if file.exists()]
    stats = [(name, status.st_size, status.st_mtime_ns) for name, status in existing]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()


def _files(source: Path) -> Iterator[Path]:
    if not source.is_dir():
        yield source
        return
    for folder, folders, names in os.walk(source):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))


def _write_state(converted: Converted, content: str) -> None:
    files = [RECORDS, *converted.splits.values()]
    values = {
        "source": str(converted.source),
        "content": content,
        "files": {name: entry_of(converted.folder / name) for name in files},
        "clips": _clips(converted.folder),
        "rows": converted.rows,
        "meaning": converted.meaning,
        "notices": converted.notices,
        "skipped": [
            {**asdict(problem), "file": str(problem.file)} for problem in converted.skipped
        ],
        "splits": converted.splits,
    }
    write_json_atomic(converted.folder / STATE, values)


def _clips(folder: Path) -> int:
    """The number of clips that were extracted from the source."""
    clips = folder / "clips"
    if not clips.is_dir():
        return 0
    # Another process that converts the source may be writing a clip.
    return sum(path.suffix != UNFINISHED for path in clips.iterdir())


def _earlier(folder: Path, source: Path, content: str) -> Converted | None:
    """An earlier conversion of the same content; None if it does not exist or is incomplete."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        complete = (
            state["content"] == content
            # A clip that was left out because it could not be read may be readable now.
            and not any(problem["key"] == "clip" for problem in state["skipped"])
            and state["clips"] == _clips(folder)
            and all(entry_of(folder / name) == entry for name, entry in state["files"].items())
        )
        if not complete:
            return None
        return Converted(
            source=source,
            folder=folder,
            rows=state["rows"],
            meaning=state["meaning"],
            notices=state["notices"],
            skipped=[Problem(**{**p, "file": Path(p["file"])}) for p in state["skipped"]],
            splits=state["splits"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
