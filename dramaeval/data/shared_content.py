"""Groups of records that share a character, a scene or the bytes of a clip.

They keep training and test apart (`splitting`) and form the clusters of bootstrap draws.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dramaeval.data.files import map_files, open_regular
from dramaeval.data.records import Record

CLIP = "clip"
"""The group key of records whose clips have the same bytes."""

_FALLBACKS = {
    "character": ("character", "char_profile", "question"),
    "scene": ("scene", "local_scene"),
}


def group_of(record: Record, key: str) -> str | None:
    """The group of a record under `key`, or None where the record does not name one.

    Under `character` it is the name, else the profile, else the question; under `scene` the value of
    `scene`, else the local scene; under any other key the record's value. White space and case are
    ignored. `group_records` handles the key `clip`, which needs the files' content.
    """
    for name in _FALLBACKS.get(key, (key,)):
        value = record.fields.get(name)
        text = value if isinstance(value, str) else _canonical(value)
        text = " ".join(text.split()).casefold()
        if text:
            return text if name == key else f"{name}: {text}"
    return None


def group_records(records: Sequence[Record], key: str, workers: int = 8) -> list[str | None]:
    """The group of each record; under `clip`, records with the same audio bytes share a group."""
    if key != CLIP:
        return [group_of(record, key) for record in records]
    contents = same_content([record.clip for record in records], workers)
    return [str(contents[record.clip]) for record in records]


def same_content(clips: Iterable[Path], workers: int = 8) -> dict[Path, Path]:
    """Map each file to the first file in `clips` that has the same bytes (often the file itself).

    Only files of equal size are read. A re-encoded copy counts as a different clip.
    """
    distinct = list(dict.fromkeys(clips))
    sizes = map_files(lambda clip: clip.stat().st_size, distinct, workers)
    counts = Counter(sizes.values())
    twins = [clip for clip in distinct if counts[sizes[clip]] > 1]
    digests = map_files(content_digest, twins, workers)
    first: dict[str, Path] = {}
    return {
        clip: first.setdefault(digests[clip], clip) if clip in digests else clip
        for clip in distinct
    }


def same_clip(record: Record, other: Record) -> bool:
    """Whether two records have the same audio bytes; where a clip is absent, only the paths are compared."""
    clips = record.clip, other.clip
    if record.clip == other.clip:
        return True
    return all(clip.is_file() for clip in clips) and len(set(same_content(clips).values())) == 1


def content_digest(clip: Path) -> str:
    """BLAKE2b of the file's bytes, 32 hex digits."""
    with open_regular(clip) as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _canonical(value: object) -> str:
    return "" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
