"""Manifests: sizes and hashes of files, written with the files and checked before they are read.

A manifest is in the folder of the files that it lists. In a folder that is written as a unit (a checkpoint, a
model), it is written last and lists every file; in the run folder, it is updated with every file. Files that no
manifest lists come from an earlier version or from the user and are not checked.

The hash is 128-bit XXH3 (https://xxhash.com), five times as fast as SHA-256: 0.25 s per gigabyte, which takes 1.2 s to
write. It detects damage, not manipulation, because the manifest can be changed too.
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
from dramaeval.distributed.replacing import replacing
from dramaeval.errors import UserFacingError

NAME = "dramaeval_manifest.json"
#: Files that the user may edit.
_NOT_LISTED = ("README.md",)
_BLOCK = 2**20
#: The rank of the process that wrote a file of a checkpoint, in the file name.
_RANK = re.compile(r"(?:^rng_state_|^generation-|_rank_)(\d+)")
HASH = "xxh128"

#: Size and hash of a file. If lines are appended to the file, the entry is marked as ``growing``, because the file may
#: already be longer, and has the sizes and hashes of its ``parts``.
Entry = dict[str, Any]


class DamagedFileError(UserFacingError, ValueError):
    """A file has other content than was written; the message names the file, the damage and the fix."""


def digest(file: Path, size: int) -> str:
    """The hash of the first ``size`` bytes of a file."""
    hasher = xxhash.xxh3_128()
    block = memoryview(bytearray(min(_BLOCK, max(size, 1))))
    with file.open("rb", buffering=0) as stream:
        while size > 0 and (count := stream.readinto(block[:size])):
            hasher.update(block[:count])
            size -= count
    return hasher.hexdigest()


def entry_of(file: Path) -> Entry:
    """Size and hash of a file."""
    size = file.stat().st_size
    return {"size": size, HASH: digest(file, size)}


# Folders that are written as a unit


def begin(folder: Path) -> None:
    """Create a folder if it does not exist, and mark it as unfinished until `seal`."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, {}, finished=False)


def seal(folder: Path, processes: Processes = SINGLE_PROCESS) -> None:
    """Write the manifest of a complete folder, with all files in it and in its subfolders.

    Each of the `processes` hashes the files that it wrote, and rank zero writes the manifest.
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
    """The rank that wrote a file, from the file name; 0 if the name has no rank."""
    rank = _RANK.search(Path(name).name)
    return int(rank[1]) % processes if rank else 0


#: Modification times of the files in each folder that this process has verified, so that each file is read only once.
_VERIFIED: dict[Path, object] = {}


def damage_in(folder: Path, *, up_to: int | None = None) -> list[str]:
    """The damage to a folder's files, one line per file; empty if there is none, or if it has no manifest.

    Args:
        folder: a checkpoint or a model.
        up_to: only the sizes of files with more bytes than this are compared; None hashes all files.
    """
    try:
        listed = read_manifest(folder)
    except DamagedFileError as error:
        return [str(error)]
    damage = [line for name, entry in listed.items() if (line := _wrong_size(folder, name, entry))]
    times = {} if damage else {name: (folder / name).stat().st_mtime_ns for name in listed}
    if damage or _VERIFIED.get(folder.resolve()) == times:
        return damage
    hashed = {
        name: entry for name, entry in listed.items() if up_to is None or entry["size"] <= up_to
    }
    damage = [line for name, entry in hashed.items() if (line := _wrong_hash(folder, name, entry))]
    if not damage and len(hashed) == len(listed):
        _VERIFIED[folder.resolve()] = times
    return damage


def require_undamaged(folder: Path, *, up_to: int | None = None) -> None:
    """Raise a DamagedFileError with every damaged file, if there are any; arguments as in `damage_in`."""
    if damage := damage_in(folder, up_to=up_to):
        raise DamagedFileError(
            f"{folder} is damaged: {'; '.join(damage)}. Restore it from a copy or make it again; if you have "
            f"changed it on purpose, remove {folder / NAME}."
        )


# Single files


def write_listed(path: Path, text: str) -> None:
    """Replace a file atomically and list it in the manifest of its folder.

    The manifest is written first and still contains the entry of the replaced file, so that one of the two entries is
    right if the process is killed in between.
    """
    content = text.encode("utf-8")
    entry: Entry = {"size": len(content), HASH: xxhash.xxh3_128_hexdigest(content)}
    before = listed_entry(path)
    if before is not None and path.is_file():
        entry["before"] = {key: before[key] for key in ("size", HASH)}
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)
        list_file(path, entry)


def list_file(path: Path, entry: Entry) -> None:
    """Write a file's entry into the manifest of its folder."""
    _write(path.parent, {**_read_or_forget(path.parent), path.name: entry})


def damage_of(path: Path) -> str | None:
    """The damage to a file; None if there is none, or if no manifest lists the file."""
    entry = listed_entry(path)
    if entry is None:
        return None
    folder, name = path.parent, path.name
    entries = [entry, *([entry["before"]] if "before" in entry else [])]
    damage = [
        _wrong_size(folder, name, candidate) or _wrong_hash(folder, name, candidate)
        for candidate in entries
    ]
    return None if None in damage else damage[0]


def matches(path: Path, text: str) -> bool:
    """Whether the manifest lists this text as the file's content."""
    entry = listed_entry(path)
    return entry is not None and entry.get(HASH) == xxhash.xxh3_128_hexdigest(text.encode("utf-8"))


def listed_entry(path: Path) -> Entry | None:
    """A file's entry in the manifest of its folder, or None."""
    return _read_or_forget(path.parent).get(path.name)


def is_listed(path: Path) -> bool:
    """Whether the manifest of the folder lists a file."""
    return listed_entry(path) is not None


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder, so that it can be written again, and return the new path."""
    aside = name_aside(path)
    os.replace(path, aside)
    return aside


def name_aside(path: Path) -> Path:
    """An unused path to which a damaged file or folder can be renamed."""
    number, aside = 1, path.with_name(f"{path.name}.damaged")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    return aside


# The manifest itself


def read_manifest(folder: Path) -> dict[str, Entry]:
    """The entries of a folder's manifest, by file name; empty if it has no manifest.

    Raises:
        DamagedFileError: the manifest is damaged, or the folder is incomplete.
    """
    if not (folder / NAME).is_file():
        return {}
    values = read_sealed(folder / NAME, keys=("files", "finished"))
    if not values["finished"]:
        raise DamagedFileError("it was not written to its end")
    return values["files"]


def _read_or_forget(folder: Path) -> dict[str, Entry]:
    """As `read_manifest`, but empty if the manifest is damaged; for folders whose files are listed one by one."""
    try:
        return read_manifest(folder)
    except DamagedFileError:
        return {}


def _write(folder: Path, listed: Mapping[str, Entry], *, finished: bool = True) -> None:
    values = {"files": dict(sorted(listed.items())), "finished": finished}
    with replacing(folder / NAME) as unfinished:
        unfinished.write_text(sealed(values), encoding="utf-8")


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


# JSON that contains its hash


def sealed(values: Mapping[str, Any]) -> str:
    """JSON that contains the hash of its content, for small files that are always rewritten as a whole."""
    content = {**values, HASH: _hash(values)}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_sealed(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """Read the output of `sealed` from a file; earlier versions wrote no hash, which is accepted.

    Raises:
        DamagedFileError: the file is damaged, or has other keys than `keys`.
        FileNotFoundError: the file does not exist.
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
