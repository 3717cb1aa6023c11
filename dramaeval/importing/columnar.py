"""Reads Parquet files, and data sets of the library datasets: saved folders, and names on the Hugging Face hub.

Audio inside them is written to files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.import_formats import HUB, HUB_FORM, hub_hint, is_hub_name
from dramaeval.importing.extracted_audio import AudioFolder
from dramaeval.importing.problems import BadSourceError
from dramaeval.importing.rows import Row, Table

_HUB_NAME = re.compile(
    rf"{HUB}(?P<path>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?P<name>[\w.-]+))?"
)


def read_parquet(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read a Parquet file; a column of mappings with ``bytes`` and ``path`` is audio, class labels become their names.

    Raises:
        BadSourceError: the file is not Parquet.
    """
    import pyarrow.parquet
    from pyarrow.lib import ArrowException

    try:
        source = pyarrow.parquet.ParquetFile(file)
        labels, notices = _labels_of_schema(source.schema_arrow, file.name)
        rows = (row for batch in source.iter_batches(64) for row in batch.to_pylist())
        table = _table(file, (_named(row, labels) for row in rows), clips)
        table.notices += notices
        return table
    except (ArrowException, OSError) as error:
        fix = "give a Parquet file, or set importer.format"
        raise BadSourceError.of_file(file, f"not readable as Parquet ({error})", fix) from None


def read_datasets(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read a folder written by ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``, or a data set of the hub.

    The latter is named ``hf:OWNER/NAME``, optionally with ``@REVISION`` (a branch, a tag or a commit) and ``:SUBSET``.
    Class labels become their names.

    Raises:
        BadSourceError: ``save_to_disk`` has not written the folder, or the data set cannot be loaded.
    """
    import datasets

    loaded = _load_hub(file) if is_hub_name(file) else _load_folder(file)
    parts = loaded if isinstance(loaded, Mapping) else {None: loaded}
    table = Table()
    for split, part in parts.items():
        for name, feature in part.features.items():
            if isinstance(feature, datasets.Audio):
                part = part.cast_column(name, datasets.Audio(decode=False))
        labels = _class_labels(part.features)
        table.add(_table(file, (_named(row, labels) for row in part), clips, split))
    return table


def _load_hub(name: Path) -> Any:
    import datasets

    parts = _HUB_NAME.fullmatch(str(name))
    if parts is None:
        raise BadSourceError.of_file(name, "not a name of the hub", f"write {HUB_FORM}")
    try:
        return datasets.load_dataset(**parts.groupdict())
    except datasets.exceptions.DatasetNotFoundError as error:
        problem = error
        fix = "check the name and the revision; for a private data set log in with `hf auth login`"
    except ConnectionError as error:
        problem = error
        fix = (
            "connect this machine, or load the data set on one that is connected and copy its cache (HF_HOME), or "
            "save it there with save_to_disk and give the folder"
        )
    except (OSError, ValueError, RuntimeError) as error:
        problem = error
        fix = f"check the name, the revision and the subset: {HUB_FORM}"
    short = " ".join(str(problem).split())[:400] or type(problem).__name__
    raise BadSourceError.of_file(name, short, fix)


def _load_folder(file: Path) -> Any:
    import datasets

    try:
        return datasets.load_from_disk(str(file))
    except IndexError:
        problem = (
            "no rows in it or in one of its splits, so that the library datasets cannot read it"
        )
        raise BadSourceError.of_file(file, problem, "save it with rows") from None
    except (OSError, ValueError) as error:
        fix = f"give a folder written by save_to_disk.{hub_hint(file)}"
        raise BadSourceError.of_file(file, f"not a saved dataset ({error})", fix) from None


def _class_labels(features: Mapping[str, Any]) -> dict[str, Any]:
    import datasets

    return {n: f for n, f in features.items() if isinstance(f, datasets.ClassLabel)}


def _labels_of_schema(schema: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """The class labels in a Parquet file's metadata, and a notice if the library datasets cannot read them."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}, []
    import datasets

    try:
        return _class_labels(datasets.Features.from_arrow_schema(schema)), []
    except (ValueError, KeyError, TypeError) as error:
        return {}, [f"{name}: its features are not readable ({error}): class labels stay numbers."]


def _named(row: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _label(labels[name].names, value) if name in labels else value
        for name, value in row.items()
    }


def _label(names: Sequence[str], value: int | None) -> str | int | None:
    """The name of a class label; None for -1, which means no label. Numbers without a name stay numbers."""
    if value is None or value == -1:
        return None
    return names[value] if 0 <= value < len(names) else value


def _table(
    file: Path, rows: Iterable[Mapping[str, Any]], audio: AudioFolder, split: str | None = None
) -> Table:
    table = Table()
    for number, values in enumerate(rows, 1):
        plain = {name: _plain(value, number, audio) for name, value in values.items()}
        table.append(Row(file=file, number=number, values=plain, split=split))
    return table


def _plain(value: Any, number: int, audio: AudioFolder) -> Any:
    """The value of a cell; an undecoded `datasets.Audio` is written to a file and becomes its path."""
    if not isinstance(value, dict) or set(value) != {"bytes", "path"}:
        return value
    if value["bytes"] is None:
        return value["path"]
    return audio.write(value["path"] or f"clip-{number:06}", value["bytes"])
