"""Fingerprints of records: hashes of their texts, ratings and clips, and the differences between two sets of records.

Folders do not count: the fingerprint stays the same if the clip and the JSONL file move.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.problems import counted, first_of, printable
from dramaeval.data.records import Record

#: Name of the file with the fingerprints of the records, in a run folder or a checkpoint.
RECORDS = "fingerprint.records.jsonl"


class RecordPrint(NamedTuple):
    """The fingerprint of a record.

    Attributes:
        id: the record's id, in a mixture after the name of its task.
        fields: hash of the record's line without the folder of its clip.
        clip: hash of the clip's content, or the hashes of several clips joined by ``+``; empty if no clip is read.
    """

    id: str
    fields: str
    clip: str


def record_prints(
    records: Sequence[Record], hashes: ContentHashes, *, reads_audio: bool = True
) -> list[RecordPrint]:
    """The fingerprints of the records of one split, in their order; clips count only with ``reads_audio``.

    Raises:
        OSError: a clip cannot be read.
    """
    clips_by_file: dict[Path, list[Path]] = {}
    for record in records if reads_audio else ():
        # A clip whose samples are in the line has no file.
        stored = [clip for clip in record.prompt_clips if clip.is_absolute() or clip.is_file()]
        clips_by_file.setdefault(record.file, []).extend(stored)
    contents: dict[Path, str] = {}
    for file, clips in clips_by_file.items():
        contents |= hashes.of(clips, origin=file)
    return [
        RecordPrint(
            id=f"{record.part}/{record.id}" if record.part else record.id,
            fields=_fields_hash(record),
            clip="+".join(filter(None, (contents.get(clip, "") for clip in record.prompt_clips))),
        )
        for record in records
    ]


def _fields_hash(record: Record) -> str:
    """Hash of the parsed line without the id and without the folders of the clips."""
    fields = {key: value for key, value in record.fields.items() if key != "id"}
    for clip in record.prompt_clips:
        fields = _without_folder(fields, clip.name)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_64_hexdigest(text.encode())


def _without_folder(value: Any, name: str) -> Any:
    """The value with ``name`` in place of every text that ends with ``/name``, for example in a prompt."""
    if isinstance(value, str):
        return name if value.endswith(f"/{name}") else value
    if isinstance(value, dict):
        return {key: _without_folder(inner, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folder(inner, name) for inner in value]
    return value


def digest_of(prints: Sequence[Sequence[str]]) -> str:
    """One hash of the fingerprints and their order."""
    hasher = xxhash.xxh3_128()
    for entry in prints:
        hasher.update("\0".join(entry).encode("utf-8", "surrogatepass") + b"\n")
    return hasher.hexdigest()


def differences(old: Sequence[RecordPrint], new: Sequence[RecordPrint]) -> list[str]:
    """Sentences about the differences between two sets of records, such as ``2 of 9 records are missing (a, b)``."""
    before, after = ({entry.id: entry for entry in prints} for prints in (old, new))
    missing = [name for name in before if name not in after]
    added = [name for name in after if name not in before]
    renamed = _renamed([before[name] for name in missing], [after[name] for name in added])
    missing = [name for name in missing if name not in renamed]
    added = [name for name in added if name not in renamed.values()]
    both = [(before[name], after[name]) for name in before if name in after]
    fields = [a.id for a, b in both if a.fields != b.fields]
    clips = [a.id for a, b in both if a.clip != b.clip]
    total = len(old)
    candidates = [
        _sentence(missing, total, "is missing", "are missing"),
        _sentence(added, None, "is new", "are new"),
        _sentence([f"{a} → {b}" for a, b in renamed.items()], total, "has", "have", " another id"),
        _sentence(fields, total, "has", "have", " other texts or ratings"),
        _sentence(clips, total, "has", "have", " another clip"),
    ]
    sentences = [sentence for sentence in candidates if sentence]
    if not sentences and list(before) != list(after):
        sentences.append("the records are in another order")
    return sentences


def _renamed(missing: Sequence[RecordPrint], added: Sequence[RecordPrint]) -> dict[str, str]:
    """The new ids, by old id, of records whose content is the same under another id."""
    by_content: dict[tuple[str, ...], list[str]] = {}
    for entry in added:
        by_content.setdefault(entry[1:], []).append(entry.id)
    return {entry.id: names.pop(0) for entry in missing if (names := by_content.get(entry[1:], []))}


def _sentence(
    names: Sequence[str], total: int | None, one: str, several: str, what: str = ""
) -> str:
    if not names:
        return ""
    verb = one if len(names) == 1 else several
    number = counted(len(names) if total is None else total, "record")
    count = number if total is None else f"{len(names)} of {number}"
    return f"{count} {verb}{what} ({first_of([printable(name) for name in names])})"


def write_prints(splits: Mapping[str, Sequence[RecordPrint]]) -> str:
    """The text of a JSONL file with the fingerprints of all splits."""
    return "".join(
        json.dumps([split, *entry]) + "\n" for split, prints in splits.items() for entry in prints
    )


def read_prints(text: str) -> dict[str, list[RecordPrint]]:
    """Read the output of `write_prints`: fingerprints by split."""
    splits: dict[str, list[RecordPrint]] = {}
    for line in text.split("\n"):
        if line:
            split, *entry = json.loads(line)
            splits.setdefault(split, []).append(RecordPrint(*entry))
    return splits
