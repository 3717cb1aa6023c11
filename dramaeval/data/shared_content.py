"""Groups of records that share a character, a scene or the bytes of a clip.

`splitting` puts a whole group into one split; bootstrap draws use groups as clusters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from dramaeval.data.files import same_content
from dramaeval.data.inline_audio import INLINE, inline_audio
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
    with_files = [record for record in records if record.clip != INLINE]
    contents = same_content([clip for record in with_files for clip in record.clips])
    joined: dict[Path, Path] = {}

    def root(clip: Path) -> Path:
        while clip in joined:
            clip = joined[clip]
        return clip

    for record in with_files:
        first, *others = (root(contents[clip]) for clip in record.clips)
        joined.update((other, first) for other in others if other != first)
    return [sample_group(record) or str(root(contents[record.clip])) for record in records]


def sample_group(record: Record) -> str | None:
    """The group of records with the same samples in the line; None for a record with a file."""
    samples = inline_audio(record)
    return None if samples is None else f"samples {hashlib.sha256(samples.tobytes()).hexdigest()}"


def same_clip(record: Record, other: Record) -> bool:
    """Whether two records have the same audio bytes; if a file does not exist, only the paths are compared."""
    clips = record.clip, other.clip
    if record.clip == other.clip:
        return True
    return all(clip.is_file() for clip in clips) and len(set(same_content(clips).values())) == 1
