"""What records have in common: the character, the scene, the very same clip.

The keys serve to keep training and test apart (`splits`) and to cluster bootstrap draws.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dramaeval.data.files import open_regular
from dramaeval.data.parallel_io import ask_each
from dramaeval.data.records import Record

CLIP = "clip"
"""The group key of records whose clips have the same bytes."""

_FALLBACKS = {
    "character": ("character", "char_profile", "question"),
    "scene": ("scene", "local_scene"),
}


def group_of(record: Record, key: str) -> str | None:
    """The group a record belongs to under `key`, or None where the record does not say.

    Under `character` it is the name where there is one, else the profile, else the question;
    under `scene` the scene's own key, else the local scene; under any other key what the record
    has there. Space and case do not count. For `clip` see `group_records`, which reads the files.
    """
    for name in _FALLBACKS.get(key, (key,)):
        value = record.fields.get(name)
        text = value if isinstance(value, str) else _canonical(value)
        text = " ".join(text.split()).casefold()
        if text:
            return text if name == key else f"{name}: {text}"
    return None


def group_records(records: Sequence[Record], key: str, workers: int = 8) -> list[str | None]:
    """`group_of` for each record; under `clip`, records with the same audio bytes share a group."""
    if key != CLIP:
        return [group_of(record, key) for record in records]
    contents = same_content([record.clip for record in records], workers)
    return [str(contents[record.clip]) for record in records]


def same_content(clips: Iterable[Path], workers: int = 8) -> dict[Path, Path]:
    """For each file the first one given that has the same bytes (often the file itself).

    Only files of equal size are read. A re-encoded copy counts as another clip.
    """
    distinct = list(dict.fromkeys(clips))
    sizes = ask_each(lambda clip: clip.stat().st_size, distinct, workers)
    often = Counter(sizes.values())
    twins = [clip for clip in distinct if often[sizes[clip]] > 1]
    digests = ask_each(content_digest, twins, workers)
    first: dict[str, Path] = {}
    return {
        clip: first.setdefault(digests[clip], clip) if clip in digests else clip
        for clip in distinct
    }


def content_digest(clip: Path) -> str:
    """BLAKE2b of the file's bytes, 32 hex digits."""
    with open_regular(clip) as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _canonical(value: object) -> str:
    return "" if value is None else json.dumps(value, sort_keys=True, ensure_ascii=False)
