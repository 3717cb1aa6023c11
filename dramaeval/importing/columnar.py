"""Reads Parquet files and folders of the library datasets; audio inside them is written to files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.data.import_formats import hub_hint, is_hub_name
from dramaeval.importing.extracted_audio import AudioFolder, is_audio
from dramaeval.importing.hub import load_hub
from dramaeval.importing.problems import BadSourceError, in_file
from dramaeval.importing.rows import Row, Table


def read_parquet(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read a Parquet file; a column of mappings with ``bytes`` and ``path`` is audio, class labels become their names.

    Args:
        file: the file.
        settings: not used.
        clips: folder for the audio.

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
        raise BadSourceError([in_file(file, f"not readable as Parquet ({error})", fix)]) from None


def read_datasets(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read a folder written by ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``, or a data set of the hub.

    Class labels become their names.

    Args:
        file: the folder, or a name of the form ``hf:OWNER/NAME``.
        settings: not used.
        clips: folder for the audio.

    Raises:
        BadSourceError: ``save_to_disk`` has not written the folder, or the data set cannot be loaded.
    """
    import datasets

    loaded = load_hub(file) if is_hub_name(file) else _load_folder(file)
    parts = loaded if isinstance(loaded, Mapping) else {None: loaded}
    table = Table(columns=[], rows=[])
    for split, part in parts.items():
        for name, feature in part.features.items():
            if isinstance(feature, datasets.Audio):
                part = part.cast_column(name, datasets.Audio(decode=False))
        labels = _class_labels(part.features)
        table.add(_table(file, (_named(row, labels) for row in part), clips, split))
    return table


def _load_folder(file: Path) -> Any:
    import datasets

    try:
        return datasets.load_from_disk(str(file))
    except (OSError, ValueError) as error:
        fix = f"give a folder written by save_to_disk.{hub_hint(file)}"
        raise BadSourceError([in_file(file, f"not a saved dataset ({error})", fix)]) from None


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
        name: labels[name].int2str(value) if name in labels and value is not None else value
        for name, value in row.items()
    }


def _table(
    file: Path, rows: Iterable[Mapping[str, Any]], audio: AudioFolder, split: str | None = None
) -> Table:
    table = Table(columns=[], rows=[])
    for number, values in enumerate(rows, 1):
        plain = {name: _plain(value, number, audio) for name, value in values.items()}
        table.rows.append(Row(file=file, number=number, values=plain, split=split))
        table.columns += [name for name in plain if name not in table.columns]
    return table


def _plain(value: Any, number: int, audio: AudioFolder) -> Any:
    if not is_audio(value):
        return value
    if value["bytes"] is None:
        return value["path"]
    return audio.write(value["path"] or f"clip-{number:06}", value["bytes"])
