"""Folders in which all files of a format form one source, such as a local copy of a data set's repository."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dramaeval.data.import_formats import SHARDED, shards
from dramaeval.data.problems import counted
from dramaeval.importing.gather import SPLITS
from dramaeval.importing.problems import BadSourceError, in_file

#: The names of the formats in messages.
NAMES = {"parquet": "Parquet", "webdataset": "tar"}


def shards_with_splits(folder: Path, kind: str) -> list[tuple[str | None, Path]]:
    """The files of the format ``kind`` in a folder in the order of their names, each with its split: train, val, test or None.

    The split is a word (see `SPLITS`) in the name of the file, as in ``data/train-00000-of-00002.parquet``, or else in
    the name of the closest folder that has such a word.

    Raises:
        BadSourceError: the folder has no file of the format, or a name has the words of two splits.
    """
    files = shards(folder, kind)
    if not files:
        fix = f"give a folder with {SHARDED[kind]} files"
        raise BadSourceError.of_file(folder, f"no {NAMES[kind]} file", fix)
    splits = {file: _splits_of_name(file.relative_to(folder)) for file in files}
    unclear = [file for file, names in splits.items() if len(names) > 1]
    if unclear:
        fix = "name the files of each split: importer.files={train: NAMES, val: NAMES, test: NAMES}"
        problem = "the name has the words of two splits"
        raise BadSourceError([in_file(file, problem, fix) for file in unclear])
    return [(next(iter(names), None), file) for file, names in splits.items()]


def _splits_of_name(inside: Path) -> set[str]:
    for name in (inside.stem, *(folder.name for folder in inside.parents)):
        words = re.split(r"[^a-z]+", name.lower())
        if splits := {SPLITS[word] for word in words if word in SPLITS}:
            return splits
    return set()


def folder_notice(parts: Sequence[tuple[str | None, Path]], kind: str) -> str:
    """The notice about the files of a folder, which are read as one table, and their splits."""
    files = Counter(split for split, _ in parts)
    named = ", ".join(f"{split} ({counted(files[split], 'file')})" for split in files if split)
    read = f"{counted(len(parts), f'{NAMES[kind]} file')} read as one table in the order of their names"
    if not named:
        return f"{read}; no name tells a split."
    without = f", {counted(files[None], 'file')} without a split" if None in files else ""
    return f"{read}; splits by their names: {named}{without}."
