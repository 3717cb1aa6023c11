"""Finds the file on this machine for each clip path in the records."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dramaeval.data.files import WORKERS, map_files
from dramaeval.data.import_formats import AUDIO_ENDINGS
from dramaeval.data.problems import printable, shown_path
from dramaeval.data.unicode_paths import StoredNames, composed

_AMBIGUOUS_FIX = (
    "set task.data.audio_root to the folder where the path in the record begins, or write the path "
    "in full"
)


_SHARED_FIX = "put the clip there; or, if both are one clip, write the same path in all records"


class NotLocated(NamedTuple):
    """Why a clip was not found, and how to fix it."""

    problem: str
    fix: str


def locate_clips(
    paths: Iterable[str], *, jsonl: Path, audio_root: Path | None = None, workers: int = WORKERS
) -> dict[str, Path | NotLocated]:
    """Find the file of each path in the records; the first match in this order is used:

    1. the path as written: absolute, or relative to the working directory;
    2. relative to the folder of the JSONL file;
    3. relative to `audio_root`;
    4. as in 1 to 3, with the other Unicode form of accents (NFC, NFD);
    5. by its file name only, at any depth under `audio_root`, or under the folder of the JSONL file
       if there is no `audio_root`. Two different files of that name are an error; several links to
       one file are not. A file that is also the clip of another path is an error: of two clips with
       one name in different folders, one is missing.
    """
    wanted = list(dict.fromkeys(paths))
    folder = jsonl.absolute().parent
    bases = [Path.cwd(), folder] + ([audio_root.absolute()] if audio_root else [])

    def as_written(path: str) -> Path | None:
        return _first_file(os.path.normpath(os.path.join(base, path)) for base in bases)

    direct = map_files(as_written, wanted, workers)
    located: dict[str, Path | NotLocated] = {path: file for path, file in direct.items() if file}
    names = StoredNames()
    for path in wanted:
        if path not in located:
            otherwise_composed = (names.find(os.path.join(base, path)) for base in bases)
            if file := _first_file(otherwise_composed):
                located[path] = file
    rest = [path for path in wanted if path not in located]
    if rest:
        search_root = audio_root.absolute() if audio_root else folder
        by_name = _files_by_name(search_root, {_name_key(path) for path in rest})
        absent = {_name_key(path) for path in rest} - by_name.keys()
        similar = _similar_names(search_root, absent)
        for path in rest:
            name = _name_key(path)
            located[path] = _by_name(path, by_name.get(name, []), search_root, similar.get(name))
        located |= _of_other_clips(rest, located)
    return located


def _first_file(paths: Iterable[str | None]) -> Path | None:
    return next((Path(path) for path in paths if path is not None and os.path.isfile(path)), None)


def _by_name(path: str, files: list[Path], root: Path, similar: str | None) -> Path | NotLocated:
    distinct = _distinct(files)
    if len(distinct) == 1:
        return distinct[0]
    if distinct:
        names = ", ".join(shown_path(file) for file in sorted(distinct)[:4])
        more = f" and {len(distinct) - 4} more" if len(distinct) > 4 else ""
        problem = f"{printable(path)} is not there, and {len(distinct)} files have its name: "
        return NotLocated(problem + names + more, _AMBIGUOUS_FIX)
    fix = (
        "put the clip there, or set task.data.audio_root to a folder that holds it at any depth "
        f"(no file of that name under {shown_path(root)})"
    )
    if similar:
        fix = f"write the name of the file with its case and ending: {printable(similar)}"
    if "\\" in path and "/" not in path:
        fix = "write the path with / instead of \\"
    return NotLocated(f"no such file: {printable(path)}", fix)


def _of_other_clips(
    paths: Iterable[str], located: Mapping[str, Path | NotLocated]
) -> dict[str, NotLocated]:
    """The problems of `paths`, found by file name only, whose file is also that of another path."""
    owners: dict[Path, list[str]] = defaultdict(list)
    for path, file in located.items():
        if isinstance(file, Path):
            owners[file.resolve()].append(path)
    problems = {}
    for path in paths:
        file = located[path]
        if not isinstance(file, Path):
            continue
        spelling = composed(os.path.normpath(path))
        others = [
            other
            for other in owners[file.resolve()]
            if composed(os.path.normpath(other)) != spelling
        ]
        if others:
            problem = (
                f"{printable(path)} is not there, and the only file of its name, {shown_path(file)}, "
                f"is also the clip {printable(others[0])}"
            )
            problems[path] = NotLocated(problem, _SHARED_FIX)
    return problems


def _distinct(files: Iterable[Path]) -> list[Path]:
    """The files, without links to a file that is already in the list."""
    by_identity: dict[tuple[int, int], Path] = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:  # vanished, or a broken link
            continue
        by_identity.setdefault((status.st_dev, status.st_ino), file)
    return list(by_identity.values())


def _files_by_name(root: Path, names: Collection[str]) -> dict[str, list[Path]]:
    """All files at any depth under `root` that have one of the names (in NFC)."""
    by_name: dict[str, list[Path]] = {}
    for folder, files in _walk(root):
        for file in files:
            key = composed(file)
            if key in names:
                by_name.setdefault(key, []).append(Path(folder, file))
    return by_name


def _similar_names(root: Path, names: Collection[str]) -> dict[str, str]:
    """For names, the name of a recording under `root` that differs from it in case, or in the ending only."""
    if not names:
        return {}
    by_form = {
        form.casefold(): name for name in names for form in (os.path.splitext(name)[0], name)
    }
    similar: dict[str, str] = {}
    for _, files in _walk(root):
        for file in files:
            stem, ending = os.path.splitext(composed(file).casefold())
            name = by_form.get(stem) or by_form.get(stem + ending)
            if name and ending in AUDIO_ENDINGS:
                similar.setdefault(name, file)
    return similar


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files in a stable order; links are followed, but each folder is visited once."""
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        try:
            status = os.stat(folder)
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()
        yield folder, sorted(files)


def _name_key(path: str) -> str:
    """The file name with composed accents."""
    return composed(path.rstrip("/").rsplit("/", 1)[-1])
