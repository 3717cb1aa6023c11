"""Reads the files of a source, each with the module of its format, into one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from dramaeval.config.home_folder import expand_home
from dramaeval.config.importer_settings import FORMATS, ImporterConfig
from dramaeval.data.import_formats import ENDINGS, SHARDED, folder_format, hub_hint, is_hub_name
from dramaeval.importing.columns import plain_text
from dramaeval.importing.extracted_audio import AudioFolder
from dramaeval.importing.json_rows import read_json_object
from dramaeval.importing.problems import BadSourceError, in_file, raise_all
from dramaeval.importing.rows import Table
from dramaeval.importing.sharded_folder import folder_notice, shards_with_splits
from dramaeval.importing.text_table import read_text_table

#: The module and function of each format except csv.
_MODULES = {
    "excel": ("excel", "read_excel"),
    "jsonl": ("json_rows", "read_jsonl"),
    "label_studio": ("json_rows", "read_label_studio"),
    "parquet": ("columnar", "read_parquet"),
    "datasets": ("columnar", "read_datasets"),
    "webdataset": ("archives", "read_webdataset"),
    "kaldi": ("archives", "read_kaldi"),
    "audio_folder": ("archives", "read_audio_folder"),
}
#: Reads a file, with the importer's settings; writes audio that is stored inside the file to the folder.
Reader = Callable[[Path, ImporterConfig, AudioFolder], Table]


def read_source(settings: ImporterConfig, clips: Path) -> Table:
    """Read every file of the source, add derived columns, and leave out the rows that ``importer.where`` excludes.

    Audio that is stored inside the source's files is written to the folder ``clips``.

    Raises:
        BadSourceError: a file is missing or cannot be read, or there are no rows.
    """
    audio = AudioFolder(clips)
    table = Table()
    files = list(_files(settings))
    for split, file in files:
        part = _reader(file, settings)(file, settings, audio)
        part.rows = [replace(row, split=split or row.split) for row in part.rows]
        table.add(part)
    if kind := _sharded(settings):
        table.notices.append(folder_notice(files, kind))
    if not table.rows:
        no_rows = in_file(
            source_path(settings), "the source has no rows", "give a source with rows"
        )
        raise_all(table.problems or [no_rows])
    _join(table, settings)
    _filter(table, settings)
    _unpivot(table, settings)
    _derive(table, settings)
    return table


def format_of(settings: ImporterConfig) -> str | None:
    """The format of the source; None if neither the settings nor the ending of its name show it."""
    path = source_path(settings)
    if is_hub_name(path):
        return folder_format(path)
    return settings.format or ENDINGS.get(path.suffix.lower())


def source_path(settings: ImporterConfig) -> Path:
    """The path of the source."""
    return expand_home(str(settings.file))


def _files(settings: ImporterConfig) -> Iterator[tuple[str | None, Path]]:
    """The split (if the settings name one) and the path of each file."""
    root = source_path(settings)
    if is_hub_name(root):
        yield None, root
        return
    if not root.exists():
        fix = f"check importer.file=….{hub_hint(root)}"
        raise BadSourceError.of_file(root, "no such file or folder", fix)
    if kind := _sharded(settings):
        yield from shards_with_splits(root, kind)
        return
    if settings.files is None or not root.is_dir():
        yield None, root
        return
    by_split = settings.files if isinstance(settings.files, Mapping) else {None: settings.files}
    files = [
        (split, path)
        for split, names in by_split.items()
        for name in ([names] if isinstance(names, str) else names or [])
        for path in sorted(root.glob(name)) or [root / name]
    ]
    fix = "give importer.file=FOLDER of the corpus, and importer.files=… for other names"
    problems = [in_file(file, "no such file", fix) for _, file in files if not file.exists()]
    if not files:
        problems = [in_file(root, "importer.files names no file", fix)]
    raise_all(problems, "'importer.files={SPLIT: null}' leaves a split out.")
    yield from files


def _sharded(settings: ImporterConfig) -> str | None:
    """The format whose files form the source, if the source is a folder with such a format; else None."""
    root = source_path(settings)
    if is_hub_name(root) or not root.is_dir() or settings.files is not None:
        return None
    kind = settings.format or folder_format(root)
    return kind if kind in SHARDED else None


def _reader(file: Path, settings: ImporterConfig) -> Reader:
    kind = format_of(settings) if is_hub_name(file) else settings.format
    kind = kind or ENDINGS.get(file.suffix.lower()) or folder_format(file)
    # The modules are imported here because the libraries of most formats take time to import.
    if kind == "csv":
        return lambda path, config, _: read_text_table(path, config)
    if kind in _MODULES:
        module, function = _MODULES[kind]
        reader: Reader = getattr(import_module(f"dramaeval.importing.{module}"), function)
        return reader
    fix = f"set importer.format to one of {', '.join(FORMATS)}"
    raise BadSourceError.of_file(file, "the format is not known by its name", fix)


def _join(table: Table, settings: ImporterConfig) -> None:
    """Add the columns of further tables to the rows with the same key, as derived columns."""
    root = source_path(settings)
    folder = root if root.is_dir() else root.parent
    for name, options in settings.joins.items():
        options = dict(options)
        key = str(options.pop("on"))
        key_of_rows = str(options.pop("own", key))
        file = folder / name
        if file.suffix.lower() == ".json":
            further = read_json_object(file)
        else:
            own_form = replace(settings, header=None, delimiter=None, **options)
            further = read_text_table(file, own_form)
        by_key = {
            plain_text(row.get(key)): {
                name: cell for name, cell in row.values.items() if name != key
            }
            for row in further.rows
        }
        table.problems += further.problems
        keys = [plain_text(row.get(key_of_rows)) for row in table.rows]
        if not by_key.keys() & set(keys):
            fix = f"importer.joins.{name}: on names its key column, own the key column of the rows"
            problem = f"no {key} is a {key_of_rows} of the rows"
            raise BadSourceError.of_file(file, problem, fix)
        table.rows = [
            replace(row, derived={**row.derived, **by_key.get(value, {})})
            for row, value in zip(table.rows, keys, strict=True)
        ]


def _filter(table: Table, settings: ImporterConfig) -> None:
    accepted = {
        column: {plain_text(v) for v in (value if isinstance(value, list) else [value])}
        for column, value in settings.where.items()
    }
    fix = f"the columns are {', '.join(table.columns)}"
    problem = "importer.where names a column that is absent"
    unknown = [column for column in accepted if column not in table.columns]
    raise_all([in_file(table.rows[0].file, problem, fix, column) for column in unknown])
    kept = [
        row
        for row in table.rows
        if all(plain_text(row.get(column)) in values for column, values in accepted.items())
    ]
    table.left_out += len(table.rows) - len(kept)
    if not kept:
        fix = "check the values of importer.where"
        raise BadSourceError.of_file(table.rows[0].file, "importer.where leaves no row", fix)
    table.rows = kept


def _unpivot(table: Table, settings: ImporterConfig) -> None:
    """Turn each cell with a score into a row, with the derived columns clip, question and score."""
    if settings.unpivot is None:
        return
    pattern = re.compile(settings.unpivot)
    matches = {name: match for name in table.columns if (match := pattern.fullmatch(name))}
    if not matches:
        fix = f"the columns are {', '.join(table.columns)}"
        raise BadSourceError.of_file(table.rows[0].file, "importer.unpivot fits no column", fix)
    rows = []
    for row in table.rows:
        rest = {name: value for name, value in row.values.items() if name not in matches}
        for name, match in matches.items():
            derived = {**row.derived, **match.groupdict(), "score": row.values.get(name)}
            values = {**rest, name: row.values.get(name)}
            rows.append(replace(row, values=values, derived=derived))
    table.rows = rows
    table.columns = [name for name in table.columns if name not in matches]


def _derive(table: Table, settings: ImporterConfig) -> None:
    """Add the named groups of ``patterns`` and the columns of ``lookup``, which may look up these groups."""
    patterns = {column: re.compile(str(pattern)) for column, pattern in settings.patterns.items()}
    for place, row in enumerate(table.rows):
        groups: dict[str, Any] = {}
        for column, pattern in patterns.items():
            text = plain_text(row.get(column))
            if match := pattern.search(text):
                groups |= match.groupdict()
            else:
                problem = f"{text!r} does not fit {pattern.pattern}"
                fix = "correct the value, or importer.patterns"
                table.problems.append(row.problem(column, problem, fix))
        row = replace(row, derived={**row.derived, **groups})
        for name, spec in settings.lookup.items():
            texts = {str(key): text for key, text in spec["values"].items()}
            value = texts.get(plain_text(row.get(str(spec["column"]))))
            if value is not None:
                row = replace(row, derived={**row.derived, name: value})
        table.rows[place] = row
