"""Manifests: size and hash of the files that a run reads back, written with them, checked before reading.

The manifest lies beside the files that it lists. That of a folder which is written as one (a checkpoint, a
model) is the last file written there and lists everything in it; that of the run folder is brought up to date
with every file. Files that no manifest lists were written by an earlier version or by hand, and are taken as
they are.

The hash is XXH3 of 128 bits (https://xxhash.com), which takes a fifth of the time of SHA-256: 0.25 s a gigabyte
beside 1.2 s for writing it. It finds damage, not malice: whoever can change a file can change the manifest.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.errors import UserFacingError

NAME = "dramaeval_manifest.json"
#: Written for people, who may change it.
_NOT_LISTED = ("README.md",)
_BLOCK = 2**20
#: The number of the process that wrote a file, where several write a checkpoint.
_RANK = re.compile(r"(?:^rng_state_|^generation-|_rank_)(\d+)")
HASH = "xxh128"

#: Size and hash of a file, by their names in the manifest. That of a file to which lines are appended is marked
#: as ``growing``, since the file may be longer already, and has the sizes and hashes of its ``parts``.
Entry = dict[str, Any]


class DamagedFileError(UserFacingError, ValueError):
    """A file is not as it was written; the message names it, says what is wrong with it and what to do."""


def digest(file: Path, size: int) -> str:
    """The hash of the first so many bytes of a file."""
    found = xxhash.xxh3_128()
    block = memoryview(bytearray(min(_BLOCK, max(size, 1))))
    with file.open("rb", buffering=0) as opened:
        while size > 0 and (count := opened.readinto(block[:size])):
            found.update(block[:count])
            size -= count
    return found.hexdigest()


def entry_of(file: Path) -> Entry:
    """Size and hash of a file."""
    size = file.stat().st_size
    return {"size": size, HASH: digest(file, size)}


# Folders that are written as one


def begin(folder: Path) -> None:
    """Make a folder, or take up one that is there, and mark it as unfinished until it is sealed."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, {}, finished=False)


def seal(folder: Path, processes: Processes = SINGLE_PROCESS) -> None:
    """Write the manifest of a folder that is complete.

    Args:
        folder: everything in it is listed, also in its own folders.
        processes: that wrote it; each works out the hashes of its own files, and they enter together.
    """
    names = [name for name in _names(folder) if _writer(name, processes.count) == processes.rank]
    listed: dict[str, Entry] = {}
    for part in processes.gather({name: entry_of(folder / name) for name in names}):
        listed |= part
    if processes.is_rank_zero:
        _write(folder, listed)


def _names(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name not in (*_NOT_LISTED, NAME):
            yield file.relative_to(folder).as_posix()


def _writer(name: str, processes: int) -> int:
    """The process that has written a file, by its name; the first where the name does not say."""
    rank = _RANK.search(Path(name).name)
    return int(rank[1]) % processes if rank else 0


#: What was found whole by this process, so that it is not read twice: states of the files by folder.
_WHOLE: dict[Path, object] = {}


def damage_in(folder: Path, *, up_to: int | None = None) -> list[str]:
    """What is wrong with a folder's files, a line each; empty where nothing is, or where it has no manifest.

    Args:
        folder: a checkpoint or a model.
        up_to: files of more bytes are compared by their size alone; None reads all.
    """
    try:
        listed = read_manifest(folder)
    except DamagedFileError as error:
        return [str(error)]
    found = [told for name, entry in listed.items() if (told := _wrong_size(folder, name, entry))]
    states = {} if found else {name: (folder / name).stat().st_mtime_ns for name in listed}
    if found or _WHOLE.get(folder.resolve()) == states:
        return found
    read = {name: one for name, one in listed.items() if up_to is None or one["size"] <= up_to}
    found = [told for name, entry in read.items() if (told := _wrong_hash(folder, name, entry))]
    if not found and len(read) == len(listed):
        _WHOLE[folder.resolve()] = states
    return found


def require_whole(folder: Path, *, up_to: int | None = None) -> None:
    """Stop before a damaged folder is read; see `damage_in`.

    Raises:
        DamagedFileError: naming every file.
    """
    if found := damage_in(folder, up_to=up_to):
        raise DamagedFileError(
            f"{folder} is damaged: {'; '.join(found)}. Restore it from a copy or make it again; if you have "
            f"changed it on purpose, remove {folder / NAME}."
        )


# Single files


def write_listed(path: Path, text: str) -> None:
    """Write a file whole and list it in the manifest of its folder.

    The manifest is written first and keeps the entry of the file that is replaced, so that a kill between the
    two leaves a file that one of the entries describes.
    """
    content = text.encode("utf-8")
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(content)
    entry: Entry = {"size": len(content), HASH: xxhash.xxh3_128_hexdigest(content)}
    before = listed_entry(path)
    if before is not None and path.is_file():
        entry["before"] = {key: before[key] for key in ("size", HASH)}
    list_file(path, entry)
    os.replace(unfinished, path)


def list_file(path: Path, entry: Entry) -> None:
    """Put a file's entry into the manifest of its folder."""
    _write(path.parent, {**_read_or_forget(path.parent), path.name: entry})


def damage_of(path: Path) -> str | None:
    """What is wrong with a file; None where nothing is, or where no manifest lists it."""
    entry = listed_entry(path)
    if entry is None:
        return None
    folder, name = path.parent, path.name
    entries = [entry, *([entry["before"]] if "before" in entry else [])]
    wrong = [_wrong_size(folder, name, one) or _wrong_hash(folder, name, one) for one in entries]
    return None if None in wrong else wrong[0]


def matches(path: Path, text: str) -> bool:
    """Whether the manifest of a file's folder says that this text was written there last."""
    entry = listed_entry(path)
    return entry is not None and entry.get(HASH) == xxhash.xxh3_128_hexdigest(text.encode("utf-8"))


def listed_entry(path: Path) -> Entry | None:
    """A file's entry in the manifest of its folder; None where it has none."""
    return _read_or_forget(path.parent).get(path.name)


def is_listed(path: Path) -> bool:
    """Whether the manifest of a file's folder lists it."""
    return listed_entry(path) is not None


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder, so that it can be made again and is not lost; returns its new name."""
    aside = name_aside(path)
    os.replace(path, aside)
    return aside


def name_aside(path: Path) -> Path:
    """A free name for what is damaged."""
    number, aside = 1, path.with_name(f"{path.name}.damaged")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    return aside


# The manifest itself


def read_manifest(folder: Path) -> dict[str, Entry]:
    """A folder's manifest, by the names of the files; empty where there is none.

    Raises:
        DamagedFileError: it is damaged, or the folder was not written to its end.
    """
    if not (folder / NAME).is_file():
        return {}
    values = read_sealed(folder / NAME, keys=("files", "finished"))
    if not values["finished"]:
        raise DamagedFileError("it was not written to its end")
    return values["files"]


def _read_or_forget(folder: Path) -> dict[str, Entry]:
    """The manifest of a folder whose files are listed one by one; one that is damaged says nothing of them."""
    try:
        return read_manifest(folder)
    except DamagedFileError:
        return {}


def _write(folder: Path, listed: Mapping[str, Entry], *, finished: bool = True) -> None:
    unfinished = folder / (NAME + ".unfinished")
    values = {"files": dict(sorted(listed.items())), "finished": finished}
    unfinished.write_text(sealed(values), encoding="utf-8")
    os.replace(unfinished, folder / NAME)


def _wrong_size(folder: Path, name: str, entry: Entry) -> str | None:
    try:
        size = (folder / name).stat().st_size
    except FileNotFoundError:
        return f"{name} is missing"
    if size < entry["size"] or (size > entry["size"] and not entry.get("growing")):
        return f"{name} has {size:,} bytes, but {entry['size']:,} were written"
    return None


def _wrong_hash(folder: Path, name: str, entry: Entry) -> str | None:
    if digest(folder / name, entry["size"]) != entry[HASH]:
        return f"{name} has other bytes than were written"
    return None


# JSON that holds its own hash


def sealed(values: Mapping[str, Any]) -> str:
    """JSON with the hash of its content in it, for small files that are replaced as a whole."""
    content = {**values, HASH: _hash(values)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_sealed(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """What `sealed` wrote; files of earlier versions, which hold no hash, are read too.

    Args:
        path: of the file.
        keys: that it may have.

    Raises:
        DamagedFileError: it is damaged.
        FileNotFoundError: it is not there.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(f"{path.name} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise DamagedFileError(f"{path.name} is damaged: it holds no object")
    seal = values.pop(HASH, None)
    if not set(values) <= set(keys) or (seal is not None and seal != _hash(values)):
        raise DamagedFileError(f"{path.name} is damaged: it has other content than was written")
    return values


def _hash(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode("utf-8"))
