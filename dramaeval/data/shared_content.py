"""Groups of records that share a character, a scene or the bytes of a clip.

`splitting` puts a whole group into one split; bootstrap draws use groups as clusters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dramaeval.data.files import same_content
from dramaeval.data.records import Record

CLIP = "clip"
"""The group key of records whose clips have the same bytes."""

_FALLBACKS = {
    "character": ("character", "char_profile", "question"),
    "scene": ("scene", "local_scene"),
}


def group_of(record: Record, key: str) -> str | None:
    """The group of a record under `key`; None if the record has no value for it.

    For `character`, it is the name, else the profile, else the question; for `scene`, the value of `scene`,
    else the local scene; for any other key, the record's value. White space and case are ignored.
    `group_records` handles the key `clip`, which needs the files' content.
    """
    for name in _FALLBACKS.get(key, (key,)):
        value = record.fields.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            value = json.dumps(value, sort_keys=True, ensure_ascii=False)
        text = " ".join(value.split()).casefold()
        if text:
            return text if name == key else f"{name}: {text}"
    return None


def group_records(records: Sequence[Record], key: str) -> list[str | None]:
    """The group of each record; under `clip`, records with the same audio bytes have the same group.

    The two clips of a pair are in one group, together with all records that have one of them.
    """
    if key != CLIP:
        return [group_of(record, key) for record in records]
    contents = same_content([clip for record in records for clip in record.clips])
    joined: dict[Path, Path] = {}

    def root(clip: Path) -> Path:
        while clip in joined:
            clip = joined[clip]
        return clip

    for record in records:
        first, *others = (root(contents[clip]) for clip in record.clips)
        joined.update((other, first) for other in others if other != first)
    return [str(root(contents[record.clip])) for record in records]


def same_clip(record: Record, other: Record) -> bool:
    """Whether two records have the same audio bytes; if a file does not exist, only the paths are compared."""
    clips = record.clip, other.clip
    if record.clip == other.clip:
        return True
    return all(clip.is_file() for clip in clips) and len(set(same_content(clips).values())) == 1
